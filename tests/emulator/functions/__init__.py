"""Lambda: functions of runtime `provided.*` run as local processes, driven through the Runtime API as in AWS.

environment.py    one execution environment: a process, its Runtime API endpoint, its output
pool.py           which environment takes an event: warm ones are reused, concurrent events start further ones
invocations.py    the record of every attempt, and the control routes to read it and to wait for quiet
asynchronous.py   Event invocations: retries, event age, destinations
configuration.py  what Lambda checks and keeps of a function
service.py        the Lambda API in moto, tied to all this
"""
