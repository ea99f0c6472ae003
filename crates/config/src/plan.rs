//! What a running engine has to change to get from one configuration to another.
//!
//! Owns what can change while an engine runs, and why the rest cannot. Changes nothing.

use portreeve_types::api::Change;
use portreeve_types::{
    Configuration, DnsName, Limits, PublishItem, PublishRequest, PublishSpec, StaticRecord,
};
use serde_json::Value;

/// The way from one configuration to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// To be unpublished, before anything is published: a host port may change hands.
    pub unpublish: Vec<PublishRequest>,
    /// To be published.
    pub publish: Vec<PublishRequest>,
    /// Limits that differ, by the names of their fields, with their new values.
    pub limits: Vec<(String, Value)>,
    /// Names that are to be answered anew, or otherwise.
    pub set_records: Vec<StaticRecord>,
    /// Names that are no longer to be answered.
    pub remove_records: Vec<DnsName>,
    /// What only a restart changes.
    pub needs_restart: Vec<Change>,
}

impl Plan {
    /// Compares two configurations.
    pub fn between(old: &Configuration, new: &Configuration) -> Self {
        let (before, after) = (requests(&old.publish), requests(&new.publish));
        let mut plan = Self {
            unpublish: without(&before, &after),
            publish: without(&after, &before),
            limits: differing_limits(&old.limits, &new.limits),
            ..Self::default()
        };
        plan.compare_records(&old.dns.records, &new.dns.records);
        if others(&old.publish) != others(&new.publish) {
            let what = "what is published automatically is fixed at the start".to_owned();
            plan.needs_restart.push(Change { setting: "publish[auto]".to_owned(), what });
        }
        let rest = |configuration: &Configuration| {
            let mut rest = configuration.clone();
            rest.publish.clear();
            rest.dns.records.clear();
            rest.limits = Limits::default();
            serde_json::to_value(rest).unwrap_or_default()
        };
        differing(&rest(old), &rest(new), "", &mut plan.needs_restart);
        plan
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits of `base`, with those that differ in their place, except for these.
    pub fn limits_over(&self, base: &Limits, except: &[&str]) -> Limits {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(base) else { return base.clone() };
        for (name, value) in self.limits.iter().filter(|(name, _)| !except.contains(&&**name)) {
            fields.insert(name.clone(), value.clone());
        }
        serde_json::from_value(Value::Object(fields)).unwrap_or_else(|_| base.clone())
    }

    fn compare_records(&mut self, old: &[StaticRecord], new: &[StaticRecord]) {
        self.set_records = new.iter().filter(|record| !old.contains(record)).cloned().collect();
        let gone = |record: &&StaticRecord| !new.iter().any(|other| other.name == record.name);
        self.remove_records = old.iter().filter(gone).map(|record| record.name.clone()).collect();
    }
}

/// The ports that are published by hand, one by one.
fn requests(specs: &[PublishSpec]) -> Vec<PublishRequest> {
    let items = specs.iter().flat_map(PublishSpec::items);
    items
        .filter_map(|item| match item {
            PublishItem::Request(request) => Some(request),
            PublishItem::Auto | PublishItem::Exclude { .. } => None,
        })
        .collect()
}

/// The rest of what is published.
fn others(specs: &[PublishSpec]) -> Vec<PublishItem> {
    let items = specs.iter().flat_map(PublishSpec::items);
    items.filter(|item| !matches!(item, PublishItem::Request(_))).collect()
}

/// Those of `these` that `those` has not, where each counts once: a port of the kernel's choice
/// may be wanted twice.
fn without(these: &[PublishRequest], those: &[PublishRequest]) -> Vec<PublishRequest> {
    let mut those: Vec<_> = those.iter().collect();
    let mut rest = Vec::new();
    for request in these {
        match those.iter().position(|one| *one == request) {
            Some(at) => {
                those.swap_remove(at);
            }
            None => rest.push(request.clone()),
        }
    }
    rest
}

fn differing_limits(old: &Limits, new: &Limits) -> Vec<(String, Value)> {
    let fields = |limits: &Limits| match serde_json::to_value(limits) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let old = fields(old);
    fields(new).into_iter().filter(|(name, value)| old.get(name) != Some(value)).collect()
}

/// Leaves of two trees that are not the same.
fn differing(old: &Value, new: &Value, path: &str, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if let (Value::Object(old_fields), Value::Object(new_fields)) = (old, new) {
        let mut names: Vec<_> = old_fields.keys().chain(new_fields.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let of = |fields: &serde_json::Map<String, Value>| {
                fields.get(name).cloned().unwrap_or_default()
            };
            differing(&of(old_fields), &of(new_fields), &path, changes);
        }
        return;
    }
    let what = format!("{} now, {} in the file", shown(old), shown(new));
    changes.push(Change { setting: path.to_owned(), what });
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "not set".to_owned(),
        value => value.to_string(),
    };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}

/// Characters of a value in a report.
const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, parse};

    fn plan(old: &str, new: &str) -> Plan {
        let read = |text: &str| parse(text, Format::Toml).unwrap();
        Plan::between(&read(old), &read(new))
    }

    fn texts(requests: &[PublishRequest]) -> Vec<String> {
        requests.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_is_no_change_however_it_is_written() {
        let plan =
            plan("publish = ['8080:80', 90]", "publish = ['90', '8080:80/tcp']\nquiet = false");
        assert!(plan.is_empty(), "{plan:?}");
    }

    #[test]
    fn a_range_changes_by_its_ends() {
        let plan = plan("publish = ['8080-8082:80-82']", "publish = ['8081-8083:81-83']");
        assert_eq!(texts(&plan.unpublish), ["8080:80"]);
        assert_eq!(texts(&plan.publish), ["8083:83"]);
    }

    #[test]
    fn what_is_wanted_twice_counts_twice() {
        let plan = plan("publish = [80]", "publish = [80, 80, 80]");
        assert_eq!(texts(&plan.publish), ["80", "80"]);
        assert!(plan.unpublish.is_empty());
    }

    #[test]
    fn a_source_or_a_name_makes_another_port() {
        let plan = plan("publish = ['8080:80']", "publish = ['target=80,published=8080,name=web']");
        assert_eq!((plan.unpublish.len(), plan.publish.len()), (1, 1));
    }

    #[test]
    fn limits_and_records_change_by_name() {
        let plan = plan(
            "dns.records = [{ name = 'a', addresses = ['10.0.0.1'] }, { name = 'b', addresses = ['::2'] }]",
            "limits.max_flows = 9\ndns.records = [{ name = 'a', addresses = ['10.0.0.2'] }]",
        );
        assert_eq!(plan.limits, [("max_flows".to_owned(), 9.into())]);
        let base = Limits { mailbox: 7, ..Limits::default() };
        let expected = Limits { max_flows: 9, ..base.clone() };
        assert_eq!(plan.limits_over(&base, &[]), expected);
        assert_eq!(plan.limits_over(&base, &["max_flows"]), base);
        assert_eq!(plan.set_records.len(), 1);
        assert_eq!(plan.remove_records, ["b".parse().unwrap()]);
        assert!(plan.needs_restart.is_empty(), "{plan:?}");
    }

    #[test]
    fn the_rest_needs_a_restart_and_is_named() {
        let plan = plan(
            "publish = ['auto']\naddresses.mtu = 1500",
            "publish = ['auto', '~22']\naddresses.mtu = 9000\nlink = { tap = 'tap0' }",
        );
        let settings: Vec<_> = plan.needs_restart.iter().map(|c| c.setting.as_str()).collect();
        assert_eq!(settings, ["publish[auto]", "addresses.mtu", "link"]);
        assert_eq!(plan.needs_restart[1].what, "1500 now, 9000 in the file");
    }
}
