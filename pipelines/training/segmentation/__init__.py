"""Taking a SEEM further on somebody's own pictures: `lavallama train seem --data`."""
