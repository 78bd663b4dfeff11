"""The programs that our service is compared with, each run as `python -m bench.contenders.NAME`.

They read the service's environment variables. They must not import the service.
"""
