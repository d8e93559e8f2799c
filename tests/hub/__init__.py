"""A stand-in for the Hugging Face Hub on loopback: as much of its HTTP interface as `huggingface_hub` uses of it.

No usable server of the Hub is on a registry. This one holds real repositories (commits, trees, files, large files apart)
and answers as the Hub does, its refusals included. Bytes of Hub buckets move through Xet only, which it does not speak:
those it lists, tells of and removes."""
