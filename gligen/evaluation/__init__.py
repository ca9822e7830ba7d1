"""How well pictures follow their boxes: metrics, tasks, and the layouts they are measured on."""
