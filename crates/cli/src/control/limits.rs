//! `portreeve limits`: shows them, or changes some while the engine runs.

use portreeve_types::Limits;
use portreeve_types::api::LimitsChange;
use serde_json::{Map, Value};

use super::screen::{Column, Grid, Screen, clean};
use super::{Stop, words};
use crate::args::engine::{LimitsArgs, SocketArgs};
use crate::report::Failure;

pub(super) fn limits(args: &LimitsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let SocketArgs { socket, json } = &args.socket;
    let is_change = |word: &str| word.contains('=');
    let (client, words) =
        words::split(args.name.as_ref(), args.changes.clone(), socket.as_deref(), is_change)?;
    let change = change(&words)?;
    let before = client.limits()?;
    let now = if change.is_empty() { None } else { Some(client.change_limits(&change)?) };
    match (&now, json) {
        (now, true) => screen.json(now.as_ref().unwrap_or(&before))?,
        (None, false) => screen.grid(&table(&fields(&before)?, &fields(&Limits::default())?))?,
        (Some(now), false) => {
            for line in differences(&fields(&before)?, &fields(now)?) {
                screen.line(line)?;
            }
        }
    }
    Ok(0)
}

/// Reads `field=value`; names are checked here, so that a wrong one is told what there is.
fn change(words: &[String]) -> Result<LimitsChange, Stop> {
    let known = fields(&Limits::default())?;
    let mut change = LimitsChange::new();
    for word in words {
        let Some((field, value)) = word.split_once('=') else {
            return Err(Stop::usage(
                format_args!("`{}` is no change of a limit", clean(word)),
                "write for example max_flows=1000",
            ));
        };
        if !known.contains_key(field) {
            let names: Vec<_> = known.keys().map(String::as_str).collect();
            let help = format!("limits are {}", names.join(", "));
            return Err(Stop::usage(format_args!("no limit `{}`", clean(field)), help));
        }
        let Ok(number) = value.replace('_', "").parse::<u64>() else {
            return Err(Stop::usage(
                format_args!("{field}: `{}` is no number", clean(value)),
                "limits are whole numbers; `portreeve limits` shows them",
            ));
        };
        if change.insert(field.to_owned(), number.into()).is_some() {
            return Err(Stop::usage(format_args!("{field} is given twice"), "say it once"));
        }
    }
    Ok(change)
}

/// By the names in configurations and in the API.
fn fields(limits: &Limits) -> Result<Map<String, Value>, Stop> {
    match serde_json::to_value(limits).map_err(Failure::ours)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn table(now: &Map<String, Value>, defaults: &Map<String, Value>) -> Grid<3> {
    let mut grid = Grid::new([
        Column::new("LIMIT"),
        Column::new("VALUE").right(),
        Column::new("DEFAULT").right(),
    ]);
    for (field, value) in now {
        let default = defaults.get(field).filter(|&default| default != value);
        let default = default.map_or_else(String::new, ToString::to_string);
        grid.row([field.clone(), value.to_string(), default]);
    }
    grid
}

fn differences(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let changed = now.iter().filter(|&(field, value)| before.get(field) != Some(value));
    let lines: Vec<_> = changed
        .map(|(field, value)| {
            let old = before.get(field).map_or_else(String::new, ToString::to_string);
            format!("{field}: {old} -> {value}")
        })
        .collect();
    if lines.is_empty() { vec!["nothing has changed".to_owned()] } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::screen::plain;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn changes_are_numbers_of_limits() {
        let change = change(&words(&["max_flows=1_000", "tcp_idle_secs=0"])).unwrap();
        assert_eq!(Value::Object(change).to_string(), r#"{"max_flows":1000,"tcp_idle_secs":0}"#);
        for wrong in [
            &["max_flows"][..],
            &["max_flow=1"],
            &["max_flows=many"],
            &["max_flows=-1"],
            &["max_flows="],
            &["max_flows=1", "max_flows=2"],
        ] {
            assert!(super::change(&words(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_default_is_shown_where_it_is_another() {
        let now = Limits { max_flows: 100, ..Limits::default() };
        let (now, default) = (fields(&now).unwrap(), fields(&Limits::default()).unwrap());
        let text = plain(&table(&now, &default), Some(80));
        assert!(text.starts_with("LIMIT "), "{text}");
        let row = |field: &str| text.lines().find(|line| line.starts_with(field)).unwrap();
        let cells = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(row("max_flows ")), ["max_flows", "100", "32768"]);
        assert_eq!(cells(row("mailbox ")), ["mailbox", "256"]);
        assert_eq!(differences(&default, &now), ["max_flows: 32768 -> 100"]);
        assert_eq!(differences(&now, &now), ["nothing has changed"]);
    }
}
