"""CloudFormation: templates are deployed as AWS deploys them, and nothing in a template is silently ignored.

moto answers CREATE_COMPLETE for types that it doesn't know and skips properties; a stack that "deployed" proved
nothing. So this is an engine of its own: it creates each resource through the API of its service, in the order of
their dependencies, and a type or property that it doesn't handle fails the stack with a reason.

template.py    reading a template, intrinsic functions, parameters, conditions, dependencies
sam.py         the transform AWS::Serverless-2016-10-31, by SAM's own translator
stacks.py      stacks, change sets, events; creating, updating, deleting, rolling back
api.py         the API operations
resources/     one handler per resource type
"""
