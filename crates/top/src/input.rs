//! Keys: what each means, given what keys do now.
//!
//! Never changes anything: [`crate::model::Model::act`] does.

use portreeve_client::Connections;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::model::{Mode, Overlay, Question, SortKey, Step, Tab};

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leave.
    Quit,
    /// Leave for a while.
    Suspend,
    /// A pane.
    Show(Tab),
    /// The pane to the right.
    Next,
    /// The pane to the left.
    Previous,
    /// Another row.
    Step(Step),
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// An order of the rows; the same again turns it round.
    Sort(SortKey),
    /// The next order of the rows.
    CycleSort,
    /// To hide, or show, that flows open and close.
    ToggleFlows,
    /// To write a filter.
    Filter,
    /// One letter more of what is being written.
    Type(char),
    /// One letter less.
    Erase,
    /// None of it.
    EraseAll,
    /// All of the selected row.
    Details,
    /// To end what is selected: a flow, a published port.
    End,
    /// Yes; what becomes of connections is asked for ports only.
    Accept(Connections),
    /// No, or back.
    Cancel,
    /// The picture to stand still, or to go on.
    Pause,
    /// Rounds to come less often.
    Slower,
    /// Rounds to come more often.
    Faster,
    /// What the keys do.
    Help,
}

/// What a key asks for; `None` if nothing.
pub(crate) fn action(mode: &Mode, key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('u') if matches!(mode, Mode::Filter { .. }) => Some(Action::EraseAll),
            _ => None,
        };
    }
    match mode {
        Mode::Browse => browse(key.code),
        Mode::Filter { .. } => write(key.code),
        Mode::Confirm(question) => confirm(question, key.code),
        Mode::Overlay(overlay) => leave(overlay, key.code),
    }
}

fn browse(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char(digit @ '1'..='5') => {
            Action::Show(*Tab::ALL.get((digit as usize).checked_sub('1' as usize)?)?)
        }
        KeyCode::Tab | KeyCode::Right => Action::Next,
        KeyCode::BackTab | KeyCode::Left => Action::Previous,
        KeyCode::Up | KeyCode::Char('k') => Action::Step(Step::Up(1)),
        KeyCode::Down | KeyCode::Char('j') => Action::Step(Step::Down(1)),
        KeyCode::Home | KeyCode::Char('g') => Action::Step(Step::First),
        KeyCode::End | KeyCode::Char('G') => Action::Step(Step::Last),
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Char('r') => Action::Sort(SortKey::Rate),
        KeyCode::Char('t') => Action::Sort(SortKey::Total),
        KeyCode::Char('a') => Action::Sort(SortKey::Age),
        KeyCode::Char('n') => Action::Sort(SortKey::Name),
        KeyCode::Char('s') => Action::CycleSort,
        KeyCode::Char('f') => Action::ToggleFlows,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Enter => Action::Details,
        KeyCode::Char('x') | KeyCode::Delete => Action::End,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('+' | '=') => Action::Slower,
        KeyCode::Char('-') => Action::Faster,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Esc => Action::Cancel,
        _ => return None,
    })
}

fn write(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(letter) => Action::Type(letter),
        KeyCode::Backspace => Action::Erase,
        KeyCode::Enter => Action::Accept(Connections::Drain),
        KeyCode::Esc => Action::Cancel,
        // The list may be walked through while the filter is written.
        KeyCode::Up => Action::Step(Step::Up(1)),
        KeyCode::Down => Action::Step(Step::Down(1)),
        _ => return None,
    })
}

/// Enter is no answer: it is pressed too easily.
fn confirm(question: &Question, code: KeyCode) -> Option<Action> {
    Some(match (question, code) {
        (Question::Kill { .. }, KeyCode::Char('y'))
        | (Question::Unpublish { .. }, KeyCode::Char('d')) => Action::Accept(Connections::Drain),
        (Question::Unpublish { .. }, KeyCode::Char('r')) => Action::Accept(Connections::Reset),
        (_, KeyCode::Esc | KeyCode::Char('n' | 'q')) => Action::Cancel,
        _ => return None,
    })
}

fn leave(overlay: &Overlay, code: KeyCode) -> Option<Action> {
    Some(match (overlay, code) {
        (Overlay::Flow(_) | Overlay::Port(_), KeyCode::Char('x') | KeyCode::Delete) => Action::End,
        (_, KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?' | ' ')) => Action::Cancel,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(mode: &Mode, code: KeyCode) -> Option<Action> {
        action(mode, KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn letters_are_orders_until_a_filter_is_written() {
        assert_eq!(press(&Mode::Browse, KeyCode::Char('q')), Some(Action::Quit));
        let writing = Mode::Filter { text: String::new(), before: String::new() };
        assert_eq!(press(&writing, KeyCode::Char('q')), Some(Action::Type('q')));
        assert_eq!(press(&writing, KeyCode::Char('1')), Some(Action::Type('1')));
        assert_eq!(press(&writing, KeyCode::Esc), Some(Action::Cancel));
    }

    #[test]
    fn numbers_choose_panes() {
        for (digit, tab) in ('1'..).zip(Tab::ALL) {
            assert_eq!(press(&Mode::Browse, KeyCode::Char(digit)), Some(Action::Show(tab)));
        }
        assert_eq!(press(&Mode::Browse, KeyCode::Char('6')), None);
        assert_eq!(press(&Mode::Browse, KeyCode::Char('0')), None);
    }

    #[test]
    fn nothing_ends_by_a_key_that_is_pressed_easily() {
        let kill = Mode::Confirm(Question::Kill { id: "1.1".into(), what: String::new() });
        let unpublish = Mode::Confirm(Question::Unpublish {
            id: portreeve_types::PublishId(1),
            what: String::new(),
            flows: 2,
        });
        for code in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Char('x'), KeyCode::Down] {
            assert_eq!(press(&kill, code), None);
            assert_eq!(press(&unpublish, code), None);
        }
        let accept = |connections| Some(Action::Accept(connections));
        assert_eq!(press(&kill, KeyCode::Char('y')), accept(Connections::Drain));
        assert_eq!(press(&unpublish, KeyCode::Char('y')), None, "there are two ways to say yes");
        assert_eq!(press(&unpublish, KeyCode::Char('d')), accept(Connections::Drain));
        assert_eq!(press(&unpublish, KeyCode::Char('r')), accept(Connections::Reset));
        assert_eq!(press(&kill, KeyCode::Char('n')), Some(Action::Cancel));
    }

    #[test]
    fn control_c_leaves_from_everywhere() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [
            Mode::Browse,
            Mode::Filter { text: "a".into(), before: String::new() },
            Mode::Confirm(Question::Kill { id: "1.1".into(), what: String::new() }),
            Mode::Overlay(Overlay::Help),
        ] {
            assert_eq!(action(&mode, key), Some(Action::Quit));
        }
    }

    #[test]
    fn a_key_counts_when_it_goes_down() {
        let key =
            KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(&Mode::Browse, key), None);
    }
}
