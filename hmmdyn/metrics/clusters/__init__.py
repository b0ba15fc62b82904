"""Clusters that may measure in the place of processes here: Dask's and Ray's."""
