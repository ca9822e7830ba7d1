"""Tests of the GLIGEN adapter."""
