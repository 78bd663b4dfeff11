"""What our service is measured against: programs of their own, each run as `python -m bench.contenders.NAME`.

They read the same environment as the service does. Nothing of the service may be imported here.
"""
