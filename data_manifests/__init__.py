"""Facts about data sets and about the sample that ships, as data; read through `celebahq_tools.manifest`."""
