//! What cancel-refresh sweeps: Auto Scaling groups of ten instances, of which three quarters had a
//! refresh in the last six weeks. None is active.

use crate::estate::{Estate, add_group, id, minutes_ago, rfc3339};
use crate::list::List;

/// Instances of a group.
const SIZE: usize = 10;

/// An estate of so many groups.
pub(crate) fn estate(_: &str, size: usize) -> Estate {
    let mut groups = List::new("DescribeAutoScalingGroups", "AutoScalingGroups", 100);
    let mut refreshes = List::new("DescribeInstanceRefreshes", "InstanceRefreshes", 100);
    let minutes = 7 * 24 * 60;
    let [started, ended] = [minutes, minutes - 20].map(|ago| rfc3339(minutes_ago(ago)));
    for number in 0..size {
        let name = format!("web-{number:03}");
        let members: Vec<String> = (0..SIZE).map(|at| id("i", number * SIZE + at)).collect();
        add_group(&mut groups, &name, &members);
        let text = format!(
            "<member><InstanceRefreshId>08b91cf7-{name}</InstanceRefreshId><AutoScalingGroupName>{name}</AutoScalingGroupName><Status>Successful</Status><StartTime>{started}</StartTime><EndTime>{ended}</EndTime><PercentageComplete>100</PercentageComplete><InstancesToUpdate>0</InstancesToUpdate><Strategy>Rolling</Strategy><Preferences><MinHealthyPercentage>90</MinHealthyPercentage><MaxHealthyPercentage>100</MaxHealthyPercentage><InstanceWarmup>60</InstanceWarmup><SkipMatching>true</SkipMatching><AutoRollback>false</AutoRollback><ScaleInProtectedInstances>Wait</ScaleInProtectedInstances><StandbyInstances>Wait</StandbyInstances></Preferences><DesiredConfiguration><LaunchTemplate><LaunchTemplateId>lt-{name}</LaunchTemplateId><LaunchTemplateName>{name}</LaunchTemplateName><Version>3</Version></LaunchTemplate></DesiredConfiguration></member>"
        );
        if number % 4 > 0 {
            refreshes.add(&[("AutoScalingGroupName", &name)], text);
        }
    }
    Estate {
        policy: "cancel-refresh:\n  mode: enforce\n".to_owned(),
        lists: vec![groups, refreshes],
        size,
        ..Estate::default()
    }
}
