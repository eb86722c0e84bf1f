"""Modality nets: into and out of the unified representation (paper, 2.5). One each, shared by all problems."""
