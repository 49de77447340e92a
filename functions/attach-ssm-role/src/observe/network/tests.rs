use super::*;
use crate::diagnosis::network::rules::{Passage, Target};
use crate::fixtures::{ec2_answer as answer, ec2_denied};
use aws_smithy_mocks::{Rule as MockRule, RuleMode, mock, mock_client};
use guardrails::aws::filter;

fn rules() -> Vec<MockRule> {
    vec![
        mock!(Client::describe_vpc_attribute)
            .match_requests(|r| r.attribute() == Some(&VpcAttributeName::EnableDnsSupport))
            .then_http_response(answer("DescribeVpcAttribute", "<vpcId>vpc-1</vpcId><enableDnsSupport><value>true</value></enableDnsSupport>")),
        mock!(Client::describe_vpc_attribute)
            .match_requests(|r| r.attribute() == Some(&VpcAttributeName::EnableDnsHostnames))
            .then_http_response(answer("DescribeVpcAttribute", "<vpcId>vpc-1</vpcId><enableDnsHostnames><value>false</value></enableDnsHostnames>")),
        mock!(Client::describe_vpcs)
            .match_requests(|r| r.filters()[0].values() == ["vpc-1"])
            .then_http_response(answer("DescribeVpcs", "<vpcSet><item><vpcId>vpc-1</vpcId><ownerId>111122223333</ownerId><cidrBlock>10.0.0.0/16</cidrBlock><dhcpOptionsId>dopt-1</dhcpOptionsId><tagSet><item><key>Network</key><value>spoke</value></item></tagSet></item></vpcSet>")),
        mock!(Client::describe_dhcp_options)
            .match_requests(|r| r.filters()[0].values() == ["dopt-1"])
            .then_http_response(answer("DescribeDhcpOptions", "<dhcpOptionsSet><item><dhcpOptionsId>dopt-1</dhcpOptionsId><dhcpConfigurationSet><item><key>domain-name-servers</key><valueSet><item><value>AmazonProvidedDNS</value></item><item><value>10.0.0.2</value></item><item><value>10.0.0.53</value></item></valueSet></item></dhcpConfigurationSet></item></dhcpOptionsSet>")),
        mock!(Client::describe_vpc_endpoints).then_http_response(answer("DescribeVpcEndpoints", "<vpcEndpointSet>
                 <item><vpcEndpointId>vpce-1</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><vpcId>vpc-1</vpcId><serviceName>com.amazonaws.eu-central-1.ssmmessages</serviceName><state>available</state><privateDnsEnabled>true</privateDnsEnabled><groupSet><item><groupId>sg-endpoints</groupId></item></groupSet><subnetIdSet><item>subnet-b</item></subnetIdSet><networkInterfaceIdSet><item>eni-1</item></networkInterfaceIdSet></item>
                 <item><vpcEndpointId>vpce-2</vpcEndpointId><vpcEndpointType>Gateway</vpcEndpointType><vpcId>vpc-1</vpcId><serviceName>com.amazonaws.eu-central-1.s3</serviceName><state>available</state></item>
                 <item><vpcEndpointId>vpce-3</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><vpcId>vpc-1</vpcId><serviceName>com.amazonaws.eu-central-1.ssm-incidents</serviceName><state>available</state></item>
                 </vpcEndpointSet>")),
        mock!(Client::describe_network_interfaces)
            .match_requests(|r| r.filters()[0].values() == ["eni-1"])
            .then_http_response(answer("DescribeNetworkInterfaces", "<networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-b</subnetId><privateIpAddressesSet><item><privateIpAddress>10.0.2.5</privateIpAddress></item></privateIpAddressesSet></item></networkInterfaceSet>")),
        mock!(Client::describe_route_tables)
            .match_requests(|r| r.max_results() == Some(100))
            .then_http_response(answer("DescribeRouteTables", "<routeTableSet><item><routeTableId>rtb-1</routeTableId><vpcId>vpc-1</vpcId>
                     <associationSet><item><main>true</main></item><item><main>false</main><subnetId>subnet-a</subnetId></item></associationSet>
                     <routeSet>
                     <item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state></item>
                     <item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><natGatewayId>nat-1</natGatewayId><state>blackhole</state></item>
                     <item><destinationIpv6CidrBlock>::/0</destinationIpv6CidrBlock><egressOnlyInternetGatewayId>eigw-1</egressOnlyInternetGatewayId><state>active</state></item>
                     <item><destinationPrefixListId>pl-s3</destinationPrefixListId><gatewayId>vpce-2</gatewayId><state>active</state></item>
                     <item><destinationCidrBlock>10.9.0.0/16</destinationCidrBlock><transitGatewayId>tgw-1</transitGatewayId><state>active</state></item>
                     </routeSet></item></routeTableSet>")),
        mock!(Client::describe_network_acls).then_http_response(answer("DescribeNetworkAcls", "<networkAclSet><item><networkAclId>acl-1</networkAclId><vpcId>vpc-1</vpcId>
                 <associationSet><item><subnetId>subnet-a</subnetId></item></associationSet>
                 <entrySet>
                 <item><ruleNumber>100</ruleNumber><protocol>6</protocol><ruleAction>allow</ruleAction><egress>true</egress><cidrBlock>0.0.0.0/0</cidrBlock><portRange><from>443</from><to>443</to></portRange></item>
                 <item><ruleNumber>32767</ruleNumber><protocol>-1</protocol><ruleAction>deny</ruleAction><egress>true</egress><cidrBlock>0.0.0.0/0</cidrBlock></item>
                 </entrySet></item></networkAclSet>")),
        mock!(Client::describe_security_groups)
            .match_requests(|r| r.filters()[0].values() == ["sg-app", "sg-endpoints"])
            .then_http_response(answer("DescribeSecurityGroups", "<securityGroupInfo>
                     <item><groupId>sg-app</groupId><ipPermissionsEgress><item><ipProtocol>-1</ipProtocol><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item></ipPermissionsEgress></item>
                     <item><groupId>sg-endpoints</groupId><ipPermissions><item><ipProtocol>tcp</ipProtocol><fromPort>443</fromPort><toPort>443</toPort><groups><item><groupId>sg-app</groupId></item></groups><prefixListIds><item><prefixListId>pl-x</prefixListId></item></prefixListIds></item></ipPermissions></item>
                     </securityGroupInfo>")),
        mock!(Client::describe_nat_gateways).then_http_response(answer("DescribeNatGateways", "<natGatewaySet><item><natGatewayId>nat-1</natGatewayId><subnetId>subnet-p</subnetId><state>deleted</state><connectivityType>public</connectivityType></item><item><natGatewayId>nat-2</natGatewayId><state>available</state><connectivityType>public</connectivityType><availabilityMode>regional</availabilityMode><routeTableId>rtb-2</routeTableId></item></natGatewaySet>")),
        mock!(Client::get_managed_prefix_list_entries)
            .match_requests(|r| r.prefix_list_id() == Some("pl-s3"))
            .then_http_response(answer("GetManagedPrefixListEntries", "<entrySet><item><cidr>52.218.0.0/17</cidr></item></entrySet>")),
        mock!(Client::get_managed_prefix_list_entries)
            .match_requests(|r| r.prefix_list_id() == Some("pl-x"))
            .then_http_response(ec2_denied),
    ]
}

#[tokio::test]
async fn a_vpc_is_read_as_aws_describes_it() {
    let rules = rules();
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules.iter());
    let interface = |subnet: &str| Interface {
        vpc: "vpc-1".to_owned(),
        subnet: subnet.to_owned(),
        groups: vec!["sg-app".to_owned()],
        ..Interface::default()
    };
    let (one, two) = (interface("subnet-a"), interface("subnet-b"));
    let which = filter("vpc-endpoint-type", vec!["Interface".to_owned()]);
    let endpoints = endpoints(&ec2, which, &Service::OF_NODES).await.unwrap();
    let found = network(&ec2, "111122223333", &[&one, &two], endpoints).await;
    let found = found.unwrap();
    // Two instances, one VPC: each thing is read once.
    assert!(rules.iter().all(|rule| rule.num_calls() == 1));

    assert_eq!(
        found.vpcs["vpc-1"],
        Vpc {
            dns: Ok(Dns {
                support: true,
                hostnames: false,
            }),
            shared_by: None,
            resolvers: vec!["10.0.0.53".to_owned()],
            tags: vec![("Network".to_owned(), "spoke".to_owned())],
        }
    );
    let [endpoint] = found.endpoints.as_slice() else {
        panic!("one endpoint: {:?}", found.endpoints);
    };
    assert_eq!(endpoint.service, Service::Messages);
    assert_eq!(endpoint.state, "available");
    assert!(endpoint.private_dns && endpoint.policy.is_none());
    assert_eq!(endpoint.interfaces[0].subnet, "subnet-b");
    assert!(endpoint.subnets.contains("subnet-b"));

    let table = found.table_of("vpc-1", "subnet-a").unwrap();
    assert!(table.main);
    let hops: Vec<_> = table
        .routes
        .iter()
        .map(|route| (route.hop.clone(), route.blackhole))
        .collect();
    assert_eq!(
        hops,
        [
            (Hop::Local, false),
            (Hop::Nat("nat-1".to_owned()), true),
            (Hop::EgressOnly("eigw-1".to_owned()), false),
            (Hop::Other("vpce-2".to_owned()), false),
            (Hop::Other("tgw-1".to_owned()), false),
        ]
    );
    let target = Target::Address("52.94.1.1".parse().unwrap());
    let acl = &found.acls[0];
    assert_eq!(acl.passage(true, target, (443, 443)), Passage::Open);
    assert_eq!(
        acl.passage(true, target, (80, 80)),
        Passage::Closed(Some(32_767))
    );
    assert_eq!(found.groups["sg-endpoints"].ingress[0].groups, ["sg-app"]);
    assert_eq!(found.groups["sg-app"].egress[0].networks.len(), 1);
    assert_eq!(found.nats["nat-1"].state, "deleted");
    let regional = &found.nats["nat-2"];
    assert_eq!(
        (&regional.subnet, regional.table.as_deref()),
        (&None, Some("rtb-2"))
    );
    let lists: Vec<_> = found.prefix_lists.keys().collect();
    assert_eq!(lists, ["pl-s3"]);
    let unread = &found.unread_lists["pl-x"];
    assert_eq!(unread.operation, "ec2:GetManagedPrefixListEntries");
}

/// The VPC of another account: only that one is in doubt, and what its owner alone may read is not
/// taken for the VPCs beside it.
#[tokio::test]
async fn a_shared_vpc_takes_no_other_with_it() {
    let mut rules = rules();
    rules.truncate(2);
    rules.push(mock!(Client::describe_vpcs).then_http_response(answer("DescribeVpcs", "<vpcSet><item><vpcId>vpc-1</vpcId><ownerId>111122223333</ownerId></item><item><vpcId>vpc-9</vpcId><ownerId>222233334444</ownerId></item></vpcSet>")));
    // Before those of rules(), which answer for every VPC.
    let denied = mock!(Client::describe_vpc_attribute)
        .match_requests(|r| r.vpc_id() == Some("vpc-9"))
        .then_http_response(ec2_denied);
    rules.insert(0, denied);
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules.iter());
    let ids = ["vpc-1".to_owned(), "vpc-9".to_owned()].into();
    let (found, unread) = described(&ec2, "111122223333", &ids).await.unwrap();
    assert!(found["vpc-1"].dns.is_ok() && found["vpc-1"].shared_by.is_none());
    assert_eq!(found["vpc-9"].shared_by.as_deref(), Some("222233334444"));
    assert!(found["vpc-9"].dns.is_err() && unread.is_empty());
}
