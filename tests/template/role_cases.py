"""What each function's role must allow and deny: (action, resource, condition keys of the request)."""

import samstack
from guardrails import COPY_KEY

ACCOUNT, REGION = samstack.ACCOUNT, samstack.REGION
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
IAM = f"arn:aws:iam::{ACCOUNT}"
INSTANCE = f"{EC2}:instance/i-0e4f5a6b7c8d9304b"
VOLUME = f"{EC2}:volume/vol-0a1b2c3d4e5f60718"
SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot/snap-0b1c2d3e4f5a60718"
BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
PARAMETER = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
GROUP = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:0f1e2d3c-4b5a-6978:autoScalingGroupName/web"
ECR = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{samstack.STACK}-StateTable"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:ec2-guardrails-NotificationTopic"
DOCUMENT = f"arn:aws:ssm:{REGION}:{ACCOUNT}:document"
SETTING = f"arn:aws:ssm:{REGION}:{ACCOUNT}:servicesetting/ssm/managed-instance"

POLICY = f"{PARAMETER}/ec2-guardrails/policy"

THEIR_VPC = f"arn:aws:ec2:{REGION}:210987654321:vpc/vpc-0b1c2d3e4f5a60718"
THEIR_SECURITY_GROUP = f"arn:aws:ec2:{REGION}:210987654321:security-group/sg-0b1c2d3e4f5a60718"

OUR_TAG = "ec2-guardrails:guardrail"
TOLD = "ec2-guardrails:told-unmanaged"
OURS = {f"aws:ResourceTag/{OUR_TAG}": "snapshot-volumes"}
FOREIGN = {f"aws:ResourceTag/{OUR_TAG}": "quarantine-launch"}
MARKED = {f"aws:RequestTag/{OUR_TAG}": "snapshot-volumes", "aws:TagKeys": [OUR_TAG, "Name"]}
HERE = {"ec2:Region": REGION}
ELSEWHERE = {"ec2:Region": "us-east-1"}
COPY = "arn:aws:ec2:us-east-1::snapshot/snap-0b1c2d3e4f5a60718"
FAR_COPY = "arn:aws:ec2:ap-south-1::snapshot/snap-0b1c2d3e4f5a60718"
VIA_EC2 = {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}

Case = tuple[str, str, dict]


def keys(*names: str) -> dict:
    return {"aws:TagKeys": list(names)}


def partitions(*names: str) -> dict:
    return {"dynamodb:LeadingKeys": list(names)}


def log_stream(guardrail: str) -> str:
    group = f"/aws/lambda/{samstack.STACK}-{guardrail}"
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:2026/03/02/[$LATEST]0f1e"


def allowed_to_all(guardrail: str) -> list[Case]:
    return [
        ("ssm:GetParameter", POLICY, {}),
        ("dynamodb:DeleteItem", TABLE, partitions(guardrail)),
        ("dynamodb:GetItem", TABLE, partitions(guardrail)),
        ("dynamodb:PutItem", TABLE, partitions(guardrail)),
        ("dynamodb:Query", TABLE, partitions(guardrail)),
        ("sns:GetTopicAttributes", TOPIC, {}),
        ("sns:Publish", TOPIC, {}),
        ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails"]}),
        ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails", "ec2-guardrails"]}),
        ("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:ec2-guardrails-DeadLetterQueue", {}),
        ("logs:CreateLogStream", log_stream(guardrail), {}),
        ("logs:PutLogEvents", log_stream(guardrail), {}),
    ]


def denied_to_all(guardrail: str) -> list[Case]:
    other = "attach-ssm-role" if guardrail == "snapshot-volumes" else "snapshot-volumes"
    return [
        ("ec2:DescribeInstances", "*", ELSEWHERE),
        ("ec2:RunInstances", INSTANCE, {}),
        ("ec2:TerminateInstances", INSTANCE, {}),
        ("autoscaling:UpdateAutoScalingGroup", GROUP, {}),
        ("autoscaling:SetDesiredCapacity", GROUP, {}),
        ("autoscaling:DeleteAutoScalingGroup", GROUP, {}),
        ("ssm:GetParameter", f"{PARAMETER}/ec2-guardrails/policy2", {}),
        ("ssm:PutParameter", POLICY, {}),
        ("ssm:AddTagsToResource", POLICY, keys(TOLD)),
        ("ssm:RemoveTagsFromResource", POLICY, keys(TOLD)),
        # Nobody else's memory, and no request that names no partition, or another besides its own.
        ("dynamodb:GetItem", TABLE, partitions(other)),
        ("dynamodb:Query", TABLE, partitions(other)),
        ("dynamodb:PutItem", TABLE, partitions(other)),
        ("dynamodb:DeleteItem", TABLE, partitions(other)),
        ("dynamodb:PutItem", TABLE, partitions(guardrail, other)),
        ("dynamodb:PutItem", TABLE, partitions(f"{guardrail}2")),
        ("dynamodb:PutItem", TABLE, {}),
        ("dynamodb:Query", TABLE, {}),
        ("dynamodb:PutItem", f"{TABLE}2", partitions(guardrail)),
        ("dynamodb:Scan", TABLE, {}),
        ("dynamodb:UpdateItem", TABLE, partitions(guardrail)),
        ("dynamodb:BatchWriteItem", TABLE, partitions(guardrail)),
        ("dynamodb:PartiQLSelect", TABLE, partitions(guardrail)),
        ("dynamodb:DeleteTable", TABLE, {}),
        ("dynamodb:UpdateTimeToLive", TABLE, {}),
        ("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:other", {}),
        ("sns:GetTopicAttributes", f"arn:aws:sns:{REGION}:{ACCOUNT}:other", {}),
        ("sns:SetTopicAttributes", TOPIC, {}),
        ("sns:Subscribe", TOPIC, {}),
        ("events:PutEvents", BUS, {"events:source": ["com.example"]}),
        ("events:PutEvents", BUS, {"events:source": ["ec2-guardrails", "com.example"]}),
        ("events:PutEvents", BUS, {}),
        ("events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/other", {"events:source": ["ec2-guardrails"]}),
        ("logs:CreateLogGroup", log_stream(guardrail).split(":log-stream")[0], {}),
        ("logs:PutLogEvents", log_stream(other), {}),
        ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{samstack.STACK}-{other}", {}),
    ]


SNAPSHOT_VOLUMES_ALLOWED: list[Case] = [
    ("ec2:DescribeVolumes", "*", HERE),
    ("ec2:DescribeSnapshots", "*", HERE),
    ("ec2:DescribeInstances", "*", HERE),
    ("ec2:DescribeImages", "*", HERE),
    ("ec2:DescribeLockedSnapshots", "*", HERE),
    ("ec2:CreateSnapshot", VOLUME, {}),
    ("ec2:CreateSnapshot", SNAPSHOT, MARKED),
    ("ec2:CreateSnapshots", INSTANCE, {}),
    ("ec2:CreateSnapshots", VOLUME, {}),
    ("ec2:CreateSnapshots", SNAPSHOT, MARKED),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CreateSnapshot"}),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CreateSnapshots"}),
    ("ec2:DeleteSnapshot", SNAPSHOT, OURS),
]

# With the parameters CopyRegions and CopyKeyArns.
COPIES_ALLOWED: list[Case] = [
    ("ec2:DescribeSnapshots", "*", ELSEWHERE),
    ("ec2:CopySnapshot", SNAPSHOT, {"ec2:Owner": ACCOUNT} | ELSEWHERE),
    ("ec2:CopySnapshot", COPY, MARKED | ELSEWHERE),
    ("ec2:CreateTags", COPY, MARKED | ELSEWHERE | {"ec2:CreateAction": "CopySnapshot"}),
    ("ec2:DeleteSnapshot", COPY, OURS | ELSEWHERE),
    ("kms:Decrypt", COPY_KEY, VIA_EC2),
    ("kms:DescribeKey", COPY_KEY, VIA_EC2),
    ("kms:GenerateDataKeyWithoutPlaintext", COPY_KEY, VIA_EC2),
    ("kms:ReEncryptFrom", COPY_KEY, VIA_EC2),
    ("kms:ReEncryptTo", COPY_KEY, VIA_EC2),
    ("kms:CreateGrant", COPY_KEY, VIA_EC2 | {"kms:GrantIsForAWSResource": "true"}),
]

DRILL = {"aws:RequestTag/ec2-guardrails:drill": "drill-0a1b", "ec2:VolumeType": "gp3"}
DRILLS_OWN = {"aws:ResourceTag/ec2-guardrails:drill": "drill-0a1b"}
ASKED_ELSEWHERE = {"aws:RequestedRegion": "us-east-1"}
FAR_VOLUME = f"arn:aws:ec2:us-east-1:{ACCOUNT}:volume/vol-0b1c2d3e4f5a60718"

# With the parameter RestoreDrills, and CopyRegions for those elsewhere.
DRILLS_ALLOWED: list[Case] = [
    ("ec2:DescribeAvailabilityZones", "*", HERE),
    ("ec2:DescribeVolumeStatus", "*", HERE),
    ("ec2:DescribeVolumes", "*", ELSEWHERE),
    ("ebs:ListSnapshotBlocks", SNAPSHOT, OURS | {"aws:RequestedRegion": REGION}),
    ("ebs:GetSnapshotBlock", SNAPSHOT, OURS | {"aws:RequestedRegion": REGION}),
    ("ebs:GetSnapshotBlock", COPY, OURS | ASKED_ELSEWHERE),
    ("ec2:CreateVolume", SNAPSHOT, OURS | HERE),
    ("ec2:CreateVolume", VOLUME, DRILL | HERE),
    ("ec2:CreateVolume", FAR_VOLUME, DRILL | ELSEWHERE),
    ("ec2:CreateTags", VOLUME, DRILL | HERE | {"ec2:CreateAction": "CreateVolume"}),
    ("ec2:DeleteVolume", VOLUME, DRILLS_OWN | HERE),
    ("ec2:DeleteVolume", FAR_VOLUME, DRILLS_OWN | ELSEWHERE),
]

SNAPSHOT_VOLUMES_DENIED: list[Case] = [
    ("dynamodb:GetItem", TABLE, partitions("quarantine-launch")),
    # Deletion: only what carries our tag.
    ("ec2:DeleteSnapshot", SNAPSHOT, {}),
    ("ec2:DeleteSnapshot", SNAPSHOT, FOREIGN),
    ("ec2:DeleteSnapshot", SNAPSHOT, {"aws:ResourceTag/guardrail": "snapshot-volumes"}),
    # No tag can be put on, nor taken off, what exists: ours wouldn't be evidence then.
    ("ec2:CreateTags", SNAPSHOT, keys(OUR_TAG)),
    ("ec2:CreateTags", SNAPSHOT, MARKED),
    ("ec2:CreateTags", SNAPSHOT, OURS | keys(OUR_TAG)),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "CopySnapshot"}),
    ("ec2:CreateTags", SNAPSHOT, MARKED | {"ec2:CreateAction": "RunInstances"}),
    ("ec2:DeleteTags", SNAPSHOT, OURS | keys(OUR_TAG)),
    ("ec2:CreateTags", SNAPSHOT, OURS | keys(TOLD)),
    ("ec2:DeleteTags", SNAPSHOT, OURS | keys(TOLD)),
    ("ec2:CreateTags", VOLUME, keys(TOLD)),
    ("ec2:CreateTags", VOLUME, DRILL | HERE),
    ("ec2:CreateTags", VOLUME, DRILL | HERE | {"ec2:CreateAction": "RunInstances"}),
    ("ec2:CreateTags", INSTANCE, keys(TOLD)),
    # DeleteTags without keys takes every tag off.
    ("ec2:DeleteTags", SNAPSHOT, OURS),
    ("ec2:DeleteTags", VOLUME, {}),
    # A snapshot without our tag would never be pruned.
    ("ec2:CreateSnapshot", SNAPSHOT, {}),
    ("ec2:CreateSnapshot", SNAPSHOT, {f"aws:RequestTag/{OUR_TAG}": "quarantine-launch"}),
    ("ec2:CreateSnapshots", SNAPSHOT, keys("Name")),
    # What it has no business with.
    ("ec2:DescribeVolumes", "*", {"ec2:Region": "ap-south-1"}),
    ("ec2:ModifySnapshotAttribute", SNAPSHOT, OURS),
    # Copies: none but of its own, with its tag, to the Regions and with the keys that are named.
    ("ec2:DescribeSnapshots", "*", {"ec2:Region": "ap-south-1"}),
    ("ec2:CopySnapshot", SNAPSHOT, {}),
    ("ec2:CopySnapshot", SNAPSHOT, OURS | {"ec2:Owner": "210987654321"}),
    ("ec2:CopySnapshot", COPY, {"ec2:Region": "us-east-1"}),
    ("ec2:CopySnapshot", FAR_COPY, MARKED | {"ec2:Region": "ap-south-1"}),
    ("ec2:CreateTags", COPY, MARKED | {"ec2:Region": "us-east-1"}),
    ("ec2:CreateTags", COPY, MARKED | {"ec2:Region": "us-east-1", "ec2:CreateAction": "CreateSnapshot"}),
    ("ec2:CreateTags", FAR_COPY, MARKED | {"ec2:Region": "ap-south-1", "ec2:CreateAction": "CopySnapshot"}),
    ("ec2:DeleteSnapshot", COPY, {"ec2:Region": "us-east-1"}),
    ("ec2:DeleteSnapshot", COPY, FOREIGN | {"ec2:Region": "us-east-1"}),
    ("ec2:DeleteSnapshot", FAR_COPY, OURS | {"ec2:Region": "ap-south-1"}),
    ("kms:Decrypt", COPY_KEY, {}),
    ("kms:Decrypt", COPY_KEY, {"kms:ViaService": "s3.us-east-1.amazonaws.com"}),
    ("kms:Decrypt", COPY_KEY[:-1] + "e", VIA_EC2),
    ("kms:CreateGrant", COPY_KEY, VIA_EC2),
    ("kms:CreateGrant", COPY_KEY, VIA_EC2 | {"kms:GrantIsForAWSResource": "false"}),
    ("kms:CreateGrant", COPY_KEY, {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:GrantIsForAWSResource": "true"}),
    # Drills: only what is ours is read, only gp3 with the drill's tag is made, only such is deleted.
    ("ebs:GetSnapshotBlock", SNAPSHOT, {"aws:RequestedRegion": REGION}),
    ("ebs:GetSnapshotBlock", SNAPSHOT, FOREIGN | {"aws:RequestedRegion": REGION}),
    ("ebs:GetSnapshotBlock", FAR_COPY, OURS | {"aws:RequestedRegion": "ap-south-1"}),
    ("ebs:PutSnapshotBlock", SNAPSHOT, OURS | {"aws:RequestedRegion": REGION}),
    ("ec2:CreateVolume", SNAPSHOT, HERE),
    ("ec2:CreateVolume", VOLUME, HERE),
    ("ec2:CreateVolume", VOLUME, DRILL | HERE | {"ec2:VolumeType": "io2"}),
    ("ec2:CreateVolume", VOLUME, DRILL | HERE | {"aws:RequestTag/ec2-guardrails:drill": "x"}),
    ("ec2:CreateVolume", FAR_COPY, OURS | {"ec2:Region": "ap-south-1"}),
    ("ec2:CreateVolume", FAR_VOLUME, DRILL | {"ec2:Region": "ap-south-1"}),
    ("ec2:CreateTags", FAR_VOLUME, DRILL | {"ec2:Region": "ap-south-1", "ec2:CreateAction": "CreateVolume"}),
    ("ec2:AttachVolume", VOLUME, DRILLS_OWN | HERE),
    ("ec2:DeleteVolume", VOLUME, {}),
    ("ec2:DeleteVolume", VOLUME, HERE),
    ("ec2:DeleteVolume", VOLUME, OURS | HERE),
    ("ec2:DeleteVolume", FAR_VOLUME, DRILLS_OWN | {"ec2:Region": "ap-south-1"}),
]

PROFILE = f"{IAM}:instance-profile/{samstack.STACK}-InstanceProfile"
ROLE = f"{IAM}:role/{samstack.STACK}-InstanceRole"
SOMEBODYS = f"{IAM}:instance-profile/web"
TO_EC2 = {"iam:PassedToService": "ec2.amazonaws.com"}
CORE = {"iam:PolicyARN": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"}
NOW_HERE = {"aws:RequestedRegion": REGION}
NOW_ELSEWHERE = {"aws:RequestedRegion": "us-east-1"}

ATTACH_SSM_ROLE_ALLOWED: list[Case] = [
    ("dynamodb:GetItem", TABLE, partitions("quarantine-launch")),
    ("dynamodb:Query", TABLE, partitions("quarantine-launch")),
    ("ec2:DescribeInstances", "*", HERE),
    ("ec2:DescribeIamInstanceProfileAssociations", "*", HERE),
    ("ec2:DescribeVpcEndpoints", "*", HERE),
    ("ec2:DescribeVpcs", "*", HERE),
    ("ec2:DescribeDhcpOptions", "*", HERE),
    ("ssm:GetConnectionStatus", INSTANCE, {}),
    ("ec2:DescribeVpcAttribute", f"{EC2}:vpc/vpc-0a1b2c3d4e5f60718", {}),
    # A VPC that is shared with this account is its owner's.
    ("ec2:DescribeVpcAttribute", THEIR_VPC, {}),
    ("ec2:GetConsoleOutput", INSTANCE, {}),
    ("ec2:GetManagedPrefixListEntries", f"{EC2}:prefix-list/pl-0a1b2c3d4e5f60718", {}),
    ("ec2:GetManagedPrefixListEntries", f"arn:aws:ec2:{REGION}:aws:prefix-list/pl-6ea54007", {}),
    ("ec2:GetManagedPrefixListEntries", f"arn:aws:ec2:{REGION}:210987654321:prefix-list/pl-0b1c2d3e", {}),
    ("ssm:DescribeInstanceInformation", "*", NOW_HERE),
    ("ssm:GetServiceSetting", f"{SETTING}/default-ec2-instance-management-role", {}),
    ("ssm:GetDocument", f"{DOCUMENT}/SSM-SessionManagerRunShell", {}),
    ("kms:DescribeKey", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", {}),
    # Organizations encrypt sessions with one key of a central account.
    ("kms:DescribeKey", f"arn:aws:kms:{REGION}:210987654321:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", {}),
    ("logs:DescribeLogGroups", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group::log-stream:", NOW_HERE),
    ("autoscaling:DescribeAutoScalingGroups", "*", NOW_HERE),
    ("autoscaling:DescribeLaunchConfigurations", "*", NOW_HERE),
    ("iam:GetInstanceProfile", SOMEBODYS, {}),
    ("iam:GetInstanceProfile", f"{IAM}:instance-profile/teams/web", {}),
    ("iam:ListAttachedRolePolicies", f"{IAM}:role/teams/web", {}),
    ("iam:SimulatePrincipalPolicy", f"{IAM}:role/web", {}),
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:NewInstanceProfile": PROFILE}),
    ("iam:PassRole", ROLE, TO_EC2),
]

ATTACH_SSM_ROLE_DENIED: list[Case] = [
    # What is in quarantine is read there, never written, and nothing else is read.
    ("dynamodb:PutItem", TABLE, partitions("quarantine-launch")),
    ("dynamodb:DeleteItem", TABLE, partitions("quarantine-launch")),
    ("dynamodb:GetItem", TABLE, partitions("cancel-refresh")),
    ("dynamodb:Query", TABLE, partitions("quarantine-launch", "cancel-refresh")),
    # Somebody's profile stays, whichever is to take its place (SSM-3).
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:InstanceProfile": SOMEBODYS, "ec2:NewInstanceProfile": PROFILE}),
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:InstanceProfile": PROFILE, "ec2:NewInstanceProfile": PROFILE}),
    ("ec2:ReplaceIamInstanceProfileAssociation", INSTANCE, {"ec2:NewInstanceProfile": PROFILE}),
    ("ec2:DisassociateIamInstanceProfile", INSTANCE, {}),
    # No other profile is given, and no other role.
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:NewInstanceProfile": SOMEBODYS}),
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:NewInstanceProfile": PROFILE + "2"}),
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {}),
    ("iam:PassRole", f"{IAM}:role/web", TO_EC2),
    ("iam:PassRole", ROLE + "2", TO_EC2),
    ("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    ("iam:PassRole", ROLE, {}),
    # Identities are read, never changed.
    ("iam:AddRoleToInstanceProfile", PROFILE, {}),
    ("iam:UpdateAssumeRolePolicy", ROLE, {}),
    ("iam:PutRolePolicy", ROLE, {}),
    ("iam:DetachRolePolicy", f"{IAM}:role/web", CORE),
    ("iam:AttachRolePolicy", f"{IAM}:role/web", {"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    ("iam:AttachRolePolicy", f"{IAM}:role/web", {"iam:PolicyARN": f"{IAM}:policy/AmazonSSMManagedInstanceCore"}),
    ("iam:AttachRolePolicy", f"{IAM}:role/web", {}),
    ("iam:AttachUserPolicy", f"{IAM}:user/anna", CORE),
    ("iam:SimulatePrincipalPolicy", f"{IAM}:user/anna", {}),
    # No tag is put on, nor taken off, anything.
    ("ec2:CreateTags", INSTANCE, keys("ec2-guardrails:managed-node")),
    ("ec2:CreateTags", INSTANCE, keys(TOLD)),
    ("ec2:DeleteTags", INSTANCE, keys(TOLD)),
    ("ec2:DeleteTags", INSTANCE, {}),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys(TOLD)),
    ("autoscaling:DeleteTags", GROUP, keys(TOLD)),
    # What it has no business with.
    ("ssm:DescribeInstanceInformation", "*", NOW_ELSEWHERE),
    ("autoscaling:DescribeAutoScalingGroups", "*", NOW_ELSEWHERE),
    ("ssm:GetServiceSetting", f"{SETTING}/activation-tier", {}),
    ("ssm:UpdateServiceSetting", f"{SETTING}/default-ec2-instance-management-role", {}),
    ("ssm:GetDocument", f"{DOCUMENT}/SSM-SessionManagerRunShell2", {}),
    ("ssm:UpdateDocument", f"{DOCUMENT}/SSM-SessionManagerRunShell", {}),
    ("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", {}),
    ("logs:GetLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sessions:log-stream:anna", {}),
    ("ssm:SendCommand", INSTANCE, {}),
    ("ssm:StartSession", INSTANCE, {}),
    ("ssm:GetConnectionStatus", f"arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/mi-0a1b2c3d4e5f60718", {}),
    ("ec2:RebootInstances", INSTANCE, {}),
    ("ec2:StopInstances", INSTANCE, {}),
    ("ec2:ModifyInstanceMetadataOptions", INSTANCE, {}),
    ("ec2:GetConsoleOutput", INSTANCE.replace(ACCOUNT, "210987654321"), {}),
    ("ec2:DescribeVpcAttribute", THEIR_VPC.replace(REGION, "us-east-1"), {}),
]

# With the parameter RepairRoles only.
REPAIR: Case = ("iam:AttachRolePolicy", f"{IAM}:role/web", CORE)

STACK = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/web/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

CANCEL_REFRESH_ALLOWED: list[Case] = [
    ("autoscaling:DescribeAutoScalingGroups", "*", NOW_HERE),
    ("autoscaling:DescribeInstanceRefreshes", "*", NOW_HERE),
    ("autoscaling:DescribeScalingActivities", "*", NOW_HERE),
    ("elasticloadbalancing:DescribeTargetHealth", "*", NOW_HERE),
    # Composite alarms are shown only to whom `*` is allowed.
    ("cloudwatch:DescribeAlarms", "*", NOW_HERE),
    ("cloudformation:DescribeStacks", STACK, {}),
    ("autoscaling:CancelInstanceRefresh", GROUP, {}),
    ("autoscaling:RollbackInstanceRefresh", GROUP, {}),
    ("ec2:DescribeInstances", "*", HERE),
]

CANCEL_REFRESH_DENIED: list[Case] = [
    # A refresh is stopped, never started, and nothing else of the group is changed.
    ("autoscaling:StartInstanceRefresh", GROUP, {}),
    ("autoscaling:SuspendProcesses", GROUP, {}),
    ("autoscaling:ResumeProcesses", GROUP, {}),
    ("autoscaling:TerminateInstanceInAutoScalingGroup", GROUP, {}),
    ("autoscaling:SetInstanceHealth", GROUP, {}),
    ("autoscaling:EnterStandby", GROUP, {}),
    ("autoscaling:DetachInstances", GROUP, {}),
    ("autoscaling:CancelInstanceRefresh", GROUP.replace(REGION, "us-east-1"), {}),
    ("autoscaling:RollbackInstanceRefresh", GROUP.replace(ACCOUNT, "210987654321"), {}),
    # No tag is put on, nor taken off, anything: neither memory nor what an operator asks for by tag.
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("ec2-guardrails:refresh")),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("ec2-guardrails:on-failure")),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys(TOLD)),
    ("autoscaling:DeleteTags", GROUP, keys("ec2-guardrails:image-repository")),
    ("autoscaling:DeleteTags", GROUP, {}),
    ("ec2:CreateTags", INSTANCE, keys(TOLD)),
    ("ec2:DeleteTags", INSTANCE, keys(TOLD)),
    # Images: only in repositories that a parameter names, and no image is ever deleted.
    ("ecr:PutImage", f"{ECR}/other", {}),
    ("ecr:PutImage", f"{ECR}/shop2", {}),
    ("ecr:BatchGetImage", f"{ECR}/other", {}),
    ("ecr:BatchDeleteImage", f"{ECR}/shop", {}),
    ("ecr:DeleteRepository", f"{ECR}/shop", {}),
    ("ecr:GetAuthorizationToken", "*", NOW_HERE),
    ("ecr:PutImageTagMutability", f"{ECR}/shop", {}),
    # What it has no business with.
    ("autoscaling:DescribeInstanceRefreshes", "*", NOW_ELSEWHERE),
    ("cloudwatch:DescribeAlarms", "*", NOW_ELSEWHERE),
    ("cloudwatch:SetAlarmState", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:web-5xx", {}),
    ("cloudformation:DescribeStacks", STACK.replace(REGION, "us-east-1"), {}),
    ("cloudformation:ListStacks", "*", NOW_HERE),
    ("cloudformation:CancelUpdateStack", STACK, {}),
    ("elasticloadbalancing:DeregisterTargets", "*", NOW_HERE),
    ("ec2:StopInstances", INSTANCE, {}),
    ("ec2:ModifyLaunchTemplate", f"{EC2}:launch-template/lt-0a1b2c3d4e5f60718", {}),
]

# With the parameter ImageRepositoryArns only.
IMAGE_TAGS: list[Case] = [("ecr:BatchGetImage", f"{ECR}/shop", {}), ("ecr:PutImage", f"{ECR}/shop", {})]

INTERFACE = f"{EC2}:network-interface/eni-0a1b2c3d4e5f60718"
SECURITY_GROUP = f"{EC2}:security-group/sg-0a1b2c3d4e5f60718"
VPC = f"{EC2}:vpc/vpc-0a1b2c3d4e5f60718"
ISOLATION = {f"aws:ResourceTag/{OUR_TAG}": "quarantine-launch"}
EVIDENCE = {f"aws:RequestTag/{OUR_TAG}": "quarantine-launch", "aws:TagKeys": [OUR_TAG, "ec2-guardrails:evidence"]}
QUARANTINED = {"aws:ResourceTag/ec2-guardrails:quarantined": "complete 2026-03-02T03:00:09Z"}
GIVEN_BACK = QUARANTINED | {"ec2:NewInstanceProfile": SOMEBODYS}
AL2023 = f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"

QUARANTINE_LAUNCH_ALLOWED: list[Case] = [
    ("ec2:DescribeInstances", "*", HERE),
    ("ec2:DescribeImages", "*", HERE),
    ("ec2:DescribeInstanceImageMetadata", "*", HERE),
    ("ec2:DescribeNetworkInterfaces", "*", HERE),
    ("ec2:DescribeSecurityGroups", "*", HERE),
    ("ec2:DescribeSnapshots", "*", HERE),
    ("ec2:DescribeTrunkInterfaceAssociations", "*", HERE),
    ("ec2:DescribeInstanceAttribute", INSTANCE, QUARANTINED),
    ("ec2:GetImageAncestry", f"arn:aws:ec2:{REGION}::image/ami-0d1e2f3a4b5c60718", {}),
    ("autoscaling:DescribeAutoScalingGroups", "*", NOW_HERE),
    ("autoscaling:DescribeAutoScalingInstances", "*", NOW_HERE),
    ("cloudtrail:LookupEvents", "*", NOW_HERE),
    ("iam:GetInstanceProfile", SOMEBODYS, {}),
    ("ssm:GetParameters", AL2023, {}),
    ("ec2:CreateTags", INSTANCE, keys("ec2-guardrails:quarantined", "ec2-guardrails:quarantine-groups-eni-0a1b2c3d4e5f60718")),
    ("ec2:DeleteTags", INSTANCE, keys("ec2-guardrails:quarantined", "ec2-guardrails:quarantine-reason")),
    ("ec2:ModifyNetworkInterfaceAttribute", INTERFACE, {}),
    ("ec2:ModifyNetworkInterfaceAttribute", SECURITY_GROUP, {}),
    # Of another account in a VPC that is shared: its owner's groups may be among those of an interface.
    ("ec2:ModifyNetworkInterfaceAttribute", THEIR_SECURITY_GROUP, {}),
    ("ec2:CreateSecurityGroup", VPC, {}),
    ("ec2:CreateSecurityGroup", THEIR_VPC, {}),
    ("ec2:CreateSecurityGroup", SECURITY_GROUP, EVIDENCE),
    ("ec2:CreateTags", SECURITY_GROUP, EVIDENCE | {"ec2:CreateAction": "CreateSecurityGroup"}),
    ("ec2:AuthorizeSecurityGroupIngress", SECURITY_GROUP, ISOLATION),
    ("ec2:RevokeSecurityGroupEgress", SECURITY_GROUP, ISOLATION),
    ("ec2:RevokeSecurityGroupIngress", SECURITY_GROUP, ISOLATION),
    ("ec2:ModifyInstanceAttribute", INSTANCE, QUARANTINED),
    ("ec2:ModifyInstanceAttribute", VOLUME, {}),
    ("ec2:CreateSnapshots", INSTANCE, QUARANTINED),
    ("ec2:CreateSnapshots", VOLUME, {}),
    ("ec2:CreateSnapshots", SNAPSHOT, EVIDENCE),
    ("ec2:CreateTags", SNAPSHOT, EVIDENCE | {"ec2:CreateAction": "CreateSnapshots"}),
    ("autoscaling:SuspendProcesses", GROUP, {}),
    ("autoscaling:ResumeProcesses", GROUP, {}),
    ("autoscaling:EnterStandby", GROUP, {}),
    ("autoscaling:ExitStandby", GROUP, {}),
    ("autoscaling:DetachInstances", GROUP, {}),
    ("autoscaling:AttachInstances", GROUP, {}),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("ec2-guardrails:loop-broken", "ec2-guardrails:loop-suspended")),
    ("autoscaling:DeleteTags", GROUP, keys("ec2-guardrails:loop-broken", "ec2-guardrails:loop-suspended")),
]

QUARANTINE_LAUNCH_DENIED: list[Case] = [
    # Of other accounts nothing else than that.
    ("ec2:CreateSecurityGroup", THEIR_SECURITY_GROUP, EVIDENCE),
    ("ec2:CreateTags", THEIR_SECURITY_GROUP, EVIDENCE | {"ec2:CreateAction": "CreateSecurityGroup"}),
    ("ec2:AuthorizeSecurityGroupIngress", THEIR_SECURITY_GROUP, ISOLATION),
    ("ec2:RevokeSecurityGroupIngress", THEIR_SECURITY_GROUP, ISOLATION),
    ("ec2:ModifyNetworkInterfaceAttribute", INTERFACE.replace(ACCOUNT, "210987654321"), {}),
    ("ec2:ModifyNetworkInterfaceAttribute", THEIR_SECURITY_GROUP.replace(REGION, "us-east-1"), {}),
    # Nobody's own security group is changed: no rule of it, and none added; and nothing ever lets anything out.
    ("ec2:AuthorizeSecurityGroupIngress", SECURITY_GROUP, {}),
    ("ec2:AuthorizeSecurityGroupIngress", SECURITY_GROUP, OURS),
    ("ec2:RevokeSecurityGroupEgress", SECURITY_GROUP, {}),
    ("ec2:RevokeSecurityGroupIngress", SECURITY_GROUP, {}),
    ("ec2:RevokeSecurityGroupIngress", SECURITY_GROUP, OURS),
    ("ec2:AuthorizeSecurityGroupEgress", SECURITY_GROUP, ISOLATION),
    ("ec2:DeleteSecurityGroup", SECURITY_GROUP, {}),
    # Our tag can't be put on a group that exists, nor can one be made without it.
    ("ec2:CreateTags", SECURITY_GROUP, EVIDENCE),
    ("ec2:CreateTags", SECURITY_GROUP, EVIDENCE | {"ec2:CreateAction": "RunInstances"}),
    ("ec2:CreateSecurityGroup", SECURITY_GROUP, {}),
    ("ec2:CreateSecurityGroup", SECURITY_GROUP, MARKED),
    # An instance is changed only while it bears its label, and its user data isn't to be read before.
    ("ec2:DescribeInstanceAttribute", INSTANCE, {}),
    ("ec2:ModifyInstanceAttribute", INSTANCE, {}),
    ("ec2:ModifyInstanceAttribute", INSTANCE, {"aws:ResourceTag/Name": "web"}),
    ("ec2:StopInstances", INSTANCE, {}),
    ("ec2:StartInstances", INSTANCE, {}),
    ("ec2:DisassociateIamInstanceProfile", INSTANCE, {}),
    ("ec2:RebootInstances", INSTANCE, QUARANTINED),
    ("ec2:TerminateInstances", INSTANCE, QUARANTINED),
    # A profile is given to what is in quarantine, never in the place of another, and with it no role
    # that the parameter doesn't name.
    ("ec2:AssociateIamInstanceProfile", INSTANCE, {"ec2:NewInstanceProfile": SOMEBODYS}),
    ("ec2:AssociateIamInstanceProfile", INSTANCE, GIVEN_BACK | {"ec2:InstanceProfile": PROFILE}),
    ("ec2:ReplaceIamInstanceProfileAssociation", INSTANCE, GIVEN_BACK),
    ("iam:PassRole", f"{IAM}:role/web2", TO_EC2),
    ("iam:PassRole", f"{IAM}:role/teams/web", TO_EC2),
    ("iam:PassRole", ROLE, TO_EC2),
    ("iam:PassRole", f"{IAM}:role/web", {"iam:PassedToService": "lambda.amazonaws.com"}),
    ("iam:PassRole", f"{IAM}:role/web", {}),
    # Evidence is made, never deleted, and always with our tag.
    ("ec2:CreateSnapshots", INSTANCE, {}),
    ("ec2:CreateSnapshots", SNAPSHOT, {}),
    ("ec2:CreateSnapshots", SNAPSHOT, MARKED),
    ("ec2:CreateTags", SNAPSHOT, EVIDENCE),
    ("ec2:CreateTags", SNAPSHOT, EVIDENCE | {"ec2:CreateAction": "CopySnapshot"}),
    ("ec2:DeleteSnapshot", SNAPSHOT, ISOLATION),
    ("ec2:DeleteVolume", VOLUME, {}),
    ("ec2:DetachVolume", VOLUME, {}),
    # Of the tags only its labels.
    ("ec2:CreateTags", INSTANCE, keys("Name")),
    ("ec2:CreateTags", INSTANCE, keys("ec2-guardrails:quarantined", "Name")),
    ("ec2:CreateTags", INSTANCE, keys("ec2-guardrails:released-image")),
    ("ec2:CreateTags", INSTANCE, keys(TOLD)),
    ("ec2:CreateTags", INSTANCE, {}),
    ("ec2:DeleteTags", INSTANCE, keys("Name")),
    ("ec2:DeleteTags", INSTANCE, {}),
    ("ec2:CreateTags", VOLUME, keys("ec2-guardrails:quarantined")),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("Name")),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("ec2-guardrails:loop-launches")),
    ("autoscaling:CreateOrUpdateTags", GROUP, keys("ec2-guardrails:loop-broken", "Name")),
    ("autoscaling:CreateOrUpdateTags", GROUP, {}),
    ("autoscaling:DeleteTags", GROUP, {}),
    # Other parameters hold secrets.
    ("ssm:GetParameters", f"{PARAMETER}/prod/database-password", {}),
    ("ssm:GetParameters", f"{PARAMETER}/goldeneye", {}),
    ("ssm:GetParametersByPath", f"{PARAMETER}/golden", {}),
    ("ssm:GetParameterHistory", f"{PARAMETER}/prod/database-password", {}),
    # What it has no business with.
    ("ec2:DescribeImages", "*", ELSEWHERE),
    ("cloudtrail:LookupEvents", "*", NOW_ELSEWHERE),
    ("cloudtrail:StopLogging", f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/all", {}),
    ("autoscaling:TerminateInstanceInAutoScalingGroup", GROUP, {}),
    ("autoscaling:CancelInstanceRefresh", GROUP, {}),
    ("ec2:DeregisterImage", f"arn:aws:ec2:{REGION}::image/ami-0d1e2f3a4b5c60718", {}),
    ("ec2:ModifyNetworkInterfaceAttribute", f"{EC2}:subnet/subnet-0a1b2c3d4e5f60718", {}),
    ("ec2:DetachNetworkInterface", INTERFACE, {}),
    ("ec2:DeleteNetworkInterface", INTERFACE, {}),
]

# What the quarantine may do only with a parameter of the stack, given as name and value.
QUARANTINE_PARAMETERS: list[tuple[str, str, Case]] = [
    ("QuarantineTakesProfiles", "true", ("ec2:DisassociateIamInstanceProfile", INSTANCE, QUARANTINED)),
    ("RestoreProfileRoleArns", f"{IAM}:role/web", ("ec2:AssociateIamInstanceProfile", INSTANCE, GIVEN_BACK)),
    ("RestoreProfileRoleArns", f"{IAM}:role/db, {IAM}:role/web", ("iam:PassRole", f"{IAM}:role/web", TO_EC2)),
    ("RestoreProfileRoleArns", f"{IAM}:role/teams/*", ("iam:PassRole", f"{IAM}:role/teams/web", TO_EC2)),
    ("QuarantineStops", "true", ("ec2:StopInstances", INSTANCE, QUARANTINED)),
    ("QuarantineStops", "true", ("ec2:StartInstances", INSTANCE, QUARANTINED)),
    ("ImageParameterArns", f"{PARAMETER}/golden/*", ("ssm:GetParameters", f"{PARAMETER}/golden/web", {})),
    ("ImageParameterArns", f"{PARAMETER}/base, {PARAMETER}/golden/web", ("ssm:GetParameterHistory", f"{PARAMETER}/golden/web", {})),
]

ALLOWED = {
    "snapshot-volumes": SNAPSHOT_VOLUMES_ALLOWED + allowed_to_all("snapshot-volumes"),
    "attach-ssm-role": ATTACH_SSM_ROLE_ALLOWED + allowed_to_all("attach-ssm-role"),
    "cancel-refresh": CANCEL_REFRESH_ALLOWED + allowed_to_all("cancel-refresh"),
    "quarantine-launch": QUARANTINE_LAUNCH_ALLOWED + allowed_to_all("quarantine-launch"),
}
DENIED = {
    "snapshot-volumes": SNAPSHOT_VOLUMES_DENIED + denied_to_all("snapshot-volumes"),
    "attach-ssm-role": ATTACH_SSM_ROLE_DENIED + denied_to_all("attach-ssm-role"),
    "cancel-refresh": CANCEL_REFRESH_DENIED + denied_to_all("cancel-refresh"),
    "quarantine-launch": QUARANTINE_LAUNCH_DENIED + denied_to_all("quarantine-launch"),
}
