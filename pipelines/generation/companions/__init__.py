"""What runs beside the gates: LoRA, textual inversion, ControlNet, IP-Adapter; one file each."""
