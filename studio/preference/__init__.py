"""Preference: pairs of replies to one prompt, the better and the worse, for DPO and ORPO."""
