"""ionetctl brings the GPU hosts of a mining datacenter into io.net, once, over SSH."""

__version__ = "0.1.0"
