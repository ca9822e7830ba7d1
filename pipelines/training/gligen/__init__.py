"""Your own pictures as what an adapter is trained on: `lavallama train gligen`."""
