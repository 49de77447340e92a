//! Schedules that mean something else than whoever wrote them thinks.

use jiff::Timestamp;

use super::Plan;

/// How many slots are shown, so that a person sees what the schedule means.
const SHOWN: usize = 5;

/// What the plan's schedule is probably misread as, its next slots after `now`, and what was
/// probably meant.
pub(super) fn misread(plan: &Plan, now: Timestamp) -> Option<String> {
    let text = plan.schedule.as_str().trim();
    let fields: Vec<&str> = text.split_whitespace().collect();
    // Nicknames have one field, and mean what they say.
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return None;
    };
    let fields = Fields {
        minute,
        hour,
        day,
        month,
        weekday,
    };
    let (reading, intended) = fields
        .days_or_weekdays()
        .or_else(|| fields.weekdays_from_one())
        .or_else(|| fields.day_that_some_months_lack())
        .or_else(|| fields.steps_that_start_anew())?;
    Some(format!(
        "`{text}` {reading} (next: {}); {intended}",
        plan.schedule.next_slots(&plan.timezone, now, SHOWN)
    ))
}

struct Fields<'a> {
    minute: &'a str,
    hour: &'a str,
    day: &'a str,
    month: &'a str,
    weekday: &'a str,
}

/// What it means, and what was probably meant.
type Misread = Option<(String, String)>;

impl Fields<'_> {
    fn written(&self, day: &str, weekday: &str) -> String {
        let Self {
            minute,
            hour,
            month,
            ..
        } = self;
        format!("`{minute} {hour} {day} {month} {weekday}`")
    }

    /// Cron joins days and weekdays by *or*.
    fn days_or_weekdays(&self) -> Misread {
        let Self { day, weekday, .. } = self;
        let any = |field: &str| matches!(field, "*" | "?");
        if any(day) || any(weekday) || weekday.starts_with('+') {
            return None;
        }
        let week = match *day {
            "1-7" => Some(1),
            "8-14" => Some(2),
            "15-21" => Some(3),
            "22-28" => Some(4),
            _ => None,
        };
        let one = !weekday.contains([',', '-', '/', '#', 'L']);
        let meant = match week {
            Some(week) if one => self.written("*", &format!("{weekday}#{week}")),
            _ => self.written(day, &format!("+{weekday}")),
        };
        Some((
            format!(
                "comes on the days {day} of the month and also on every {weekday}, since cron joins the two by *or*"
            ),
            format!("for days that are both write {meant}"),
        ))
    }

    /// AWS and Quartz, where the `?` comes from, count from Sunday as 1; cron from Monday.
    fn weekdays_from_one(&self) -> Misread {
        let Self { day, weekday, .. } = self;
        let numbers = weekday.split('#').next().unwrap_or_default();
        if !(*day == "?" && numbers.contains(|c: char| c.is_ascii_digit())) {
            return None;
        }
        let name = |number: u32, first: usize| {
            const NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
            NAMES[(number as usize + 7 - first) % 7]
        };
        let named = |first: usize| {
            let names = numbers.chars().map(|c| match c.to_digit(10) {
                Some(number) => name(number, first).to_owned(),
                None => c.to_string(),
            });
            let rest = weekday.strip_prefix(numbers).unwrap_or_default();
            self.written("?", &(names.collect::<String>() + rest))
        };
        Some((
            "counts weekdays as cron does, 1 is Monday; AWS and Quartz, which the `?` is from, count Sunday as 1".to_owned(),
            format!("write names: {} as it is now, or {} as AWS would read it", named(0), named(1)),
        ))
    }

    fn day_that_some_months_lack(&self) -> Misread {
        let Self { day, month, .. } = self;
        let lacking = matches!(*day, "29" | "30" | "31") && *month == "*";
        lacking.then(|| {
            (
                format!("leaves out the months that have no {day}th"),
                format!(
                    "for the last day of each month write {}",
                    self.written("L", "*")
                ),
            )
        })
    }

    /// `*/n` counts from the beginning of the hour or day anew.
    fn steps_that_start_anew(&self) -> Misread {
        let anew = |field: &str, all: u32| {
            let step: u32 = field.strip_prefix("*/")?.parse().ok()?;
            (!all.is_multiple_of(step)).then_some(step)
        };
        let (step, unit, whole, all) = match (anew(self.minute, 60), anew(self.hour, 24)) {
            (Some(step), _) => (step, "minutes", "hour", 60),
            (_, Some(step)) => (step, "hours", "day", 24),
            _ => return None,
        };
        Some((
            format!("doesn't come every {step} {unit}: the count begins anew with each {whole}"),
            format!("write a step by which {all} can be divided"),
        ))
    }
}
