//! Instances and volumes, made through EC2's own API.

use aws_sdk_ec2::error::DisplayErrorContext;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Filter, InstanceType, Placement, Tag, VolumeType,
};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;

/// The Availability Zone that everything is in.
pub const ZONE: &str = "eu-central-1a";
/// Another one.
pub const OTHER_ZONE: &str = "eu-central-1b";

/// An instance with its volumes.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its root volume.
    pub root: String,
    /// Its data volumes, on `/dev/sdf`, `/dev/sdg` and so on.
    pub data: Vec<String>,
}

impl Instance {
    /// All its volumes.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        let mut all = vec![self.root.clone()];
        all.extend(self.data.iter().cloned());
        all
    }
}

#[derive(Deserialize)]
struct Made {
    volume_ids: Vec<String>,
}

/// A call's answer, or a panic with all that AWS said.
pub(crate) fn answered<T, E: std::error::Error>(what: &str, answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|error| panic!("{what}: {}", DisplayErrorContext(error)))
}

/// The device of the nth data volume.
fn device(n: u8) -> String {
    format!("/dev/sd{}", char::from(b'f' + n))
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

impl LocalAws {
    /// Registers an AMI of that name.
    pub async fn image(&self, name: &str) -> String {
        let answer = self
            .ec2
            .register_image()
            .name(name)
            .architecture(aws_sdk_ec2::types::ArchitectureValues::X8664)
            .virtualization_type("hvm")
            .root_device_name("/dev/sda1")
            .send()
            .await;
        let image = answered("RegisterImage", answer).image_id;
        image.expect("a new image has an id")
    }

    /// Launches an instance with a root volume and so many data volumes.
    pub async fn instance(&self, image: &str, data: u8) -> Instance {
        let devices = (0..data).map(|n| {
            let disk = EbsBlockDevice::builder()
                .volume_size(8)
                .volume_type(VolumeType::Gp3);
            BlockDeviceMapping::builder()
                .device_name(device(n))
                .ebs(disk.build())
                .build()
        });
        let answer = self
            .ec2
            .run_instances()
            .image_id(image)
            .instance_type(InstanceType::T3Micro)
            .min_count(1)
            .max_count(1)
            .placement(Placement::builder().availability_zone(ZONE).build())
            .set_block_device_mappings(Some(devices.collect()))
            .send()
            .await;
        let launched = answered("RunInstances", answer);
        let id = launched.instances()[0].instance_id();
        let id = id.expect("an instance has an id").to_owned();

        let filter = Filter::builder()
            .name("attachment.instance-id")
            .values(&id)
            .build();
        let answer = self.ec2.describe_volumes().filters(filter).send().await;
        let mut attached: Vec<(String, String)> = answered("DescribeVolumes", answer)
            .volumes()
            .iter()
            .filter_map(|volume| {
                let device = volume.attachments().first()?.device()?.to_owned();
                Some((device, volume.volume_id()?.to_owned()))
            })
            .collect();
        attached.sort();
        assert_eq!(attached.len(), usize::from(data) + 1, "{attached:?}");
        let mut volumes = attached.into_iter().map(|(_, volume)| volume);
        Instance {
            id,
            // /dev/sda1 comes before /dev/sdf.
            root: volumes.next().expect("an instance has a root volume"),
            data: volumes.collect(),
        }
    }

    /// Instances with so many data volumes each, all volumes tagged `Backup=true`.
    pub async fn backed_up_instances(&self, count: u32, data: u8) -> Vec<Instance> {
        let image = self
            .image(&format!("{count}-with-{data}-data-volumes"))
            .await;
        let mut instances = Vec::new();
        for _ in 0..count {
            let instance = self.instance(&image, data).await;
            self.tag(&instance.volumes(), &[("Backup", "true")]).await;
            instances.push(instance);
        }
        instances
    }

    /// So many volumes that are attached to nothing.
    pub async fn volumes(&self, count: u32, tags: &[(&str, &str)]) -> Vec<String> {
        let tags: Value = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let body = json!({ "count": count, "zone": ZONE, "tags": tags });
        let made: Made = self.control(Method::POST, "volumes", Some(&body)).await;
        made.volume_ids
    }

    /// Puts volumes into a state of AWS's, a Local Zone or on an Outpost, as the local AWS's route
    /// `volumes/place` takes it.
    pub async fn place(&self, volumes: Value) {
        self.post("volumes/place", volumes).await;
    }

    /// A volume that may be attached to several instances.
    pub async fn multi_attach_volume(&self) -> String {
        let answer = self
            .ec2
            .create_volume()
            .availability_zone(ZONE)
            .volume_type(VolumeType::Io2)
            .iops(1000)
            .size(8)
            .multi_attach_enabled(true)
            .send()
            .await;
        let volume = answered("CreateVolume", answer).volume_id;
        volume.expect("a new volume has an id")
    }

    /// Attaches a volume.
    pub async fn attach(&self, volume: &str, instance: &str, device: &str) {
        let answer = self
            .ec2
            .attach_volume()
            .volume_id(volume)
            .instance_id(instance)
            .device(device)
            .send()
            .await;
        answered("AttachVolume", answer);
    }

    /// Tags resources.
    pub async fn tag(&self, resources: &[impl AsRef<str>], tags: &[(&str, &str)]) {
        let resources = resources.iter().map(|id| id.as_ref().to_owned()).collect();
        let answer = self
            .ec2
            .create_tags()
            .set_resources(Some(resources))
            .set_tags(Some(tags.iter().map(|(k, v)| tag(k, v)).collect()))
            .send()
            .await;
        answered("CreateTags", answer);
    }

    /// A volume's tags.
    pub async fn tags_of(&self, volume: &str) -> Vec<(String, String)> {
        let answer = self.ec2.describe_volumes().volume_ids(volume).send().await;
        answered("DescribeVolumes", answer).volumes()[0]
            .tags()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect()
    }
}
