//! `portreeve config`, `portreeve reload` and `portreeve metrics`: what an engine says about itself
//! as a whole.

use portreeve_types::api::{Change, ReloadReport};
use serde_json::Value;

use super::screen::{BAD, FAINT, GOOD, Screen, clean};
use super::{REFUSED, Stop, words};
use crate::args::engine::{AskArgs, MetricsArgs};
use crate::report::Failure;

pub(super) fn config(args: &AskArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.socket.as_deref())?;
    let mut config = client.config()?;
    if args.socket.json {
        screen.json(&config)?;
        return Ok(0);
    }
    drop_nulls(&mut config);
    // As a configuration file would say it.
    let text = toml::to_string_pretty(&config).map_err(Failure::ours)?;
    for line in text.lines() {
        screen.line(clean(line))?;
    }
    Ok(0)
}

/// TOML has no null: what is not set is not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

pub(super) fn reload(args: &AskArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.socket.as_deref())?;
    let report = client.reload()?;
    if args.socket.json {
        screen.json(&report)?;
    } else {
        for line in lines(&report) {
            screen.line(line)?;
        }
    }
    Ok(if report.failed.is_empty() { 0 } else { REFUSED })
}

fn lines(report: &ReloadReport) -> Vec<String> {
    if report.is_empty() {
        return vec!["nothing has changed".to_owned()];
    }
    let parts = [
        (GOOD, "applied", &report.applied),
        (FAINT, "needs restart", &report.needs_restart),
        (BAD, "failed", &report.failed),
    ];
    let mut lines = Vec::new();
    for (style, word, changes) in parts {
        for Change { setting, what } in changes {
            let (setting, what) = (clean(setting), clean(what));
            lines.push(format!("{style}{word:<13}{style:#}  {setting}: {what}"));
        }
    }
    lines
}

pub(super) fn metrics(args: &MetricsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.as_deref())?;
    let text = client.metrics()?;
    for line in text.lines() {
        screen.line(clean(line))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_a_line_for_each_change() {
        let change =
            |setting: &str, what: &str| Change { setting: setting.into(), what: what.into() };
        let report = ReloadReport {
            applied: vec![change("limits.max_flows", "32768 to 100")],
            needs_restart: vec![change("addresses.mtu", "1500 to 9000")],
            failed: vec![change("publish[80:80]", "127.0.0.1:80: in use\n")],
        };
        let text = lines(&report).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "applied        limits.max_flows: 32768 to 100\n\
             needs restart  addresses.mtu: 1500 to 9000\n\
             failed         publish[80:80]: 127.0.0.1:80: in use\\n"
        );
        assert_eq!(lines(&ReloadReport::default()), ["nothing has changed"]);
    }

    #[test]
    fn what_is_not_set_is_not_in_the_file() {
        let mut config = json!({"a": null, "b": {"c": null, "d": [1, null]}, "e": "x"});
        drop_nulls(&mut config);
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(text, "e = \"x\"\n\n[b]\nd = [1]\n");
    }
}
