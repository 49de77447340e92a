//! The end-to-end tests: one program, so that the AWS SDK is linked once. `make e2e ONLY=retention`
//! runs those of one file.

mod attach_ssm_role;
mod attacks;
mod benchmark;
mod cancel_refresh;
mod cancel_refresh_causes;
mod cancel_refresh_images;
mod cancel_refresh_pipeline;
mod cancel_refresh_races;
mod dead_letters;
mod examples;
mod faults;
mod notices;
mod quarantine_launch;
mod quarantine_launch_brake;
mod quarantine_launch_faults;
mod quarantine_launch_reach;
mod quarantine_launch_steps;
mod requests;
mod retention;
mod snapshot_volumes;
mod snapshot_volumes_copies;
mod snapshot_volumes_drills;
mod snapshot_volumes_faults;
mod stack;
mod uninstall;
