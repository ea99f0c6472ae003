//! Which row of a list is selected, while the list changes.
//!
//! The selection is a row's name, not its place: it stays with the row as the list is sorted anew.
//! Never knows what the rows are.

/// The selection in a list whose rows are named by `K`.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<K> {
    selected: Option<(K, usize)>,
}

/// A way through a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Towards the top by so many rows.
    Up(usize),
    /// Towards the bottom by so many rows.
    Down(usize),
    /// To the first row.
    First,
    /// To the last row.
    Last,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self { selected: None }
    }
}

impl<K: Clone + PartialEq> Cursor<K> {
    /// Moves; without a selection, from above the first row.
    pub(crate) fn step(&mut self, step: Step, len: usize, key: impl Fn(usize) -> K) {
        let Some(last) = len.checked_sub(1) else { return };
        let to = match (step, self.place()) {
            (Step::First, _) | (Step::Up(_) | Step::Down(_), None) => 0,
            (Step::Last, _) => last,
            (Step::Up(rows), Some(at)) => at.saturating_sub(rows),
            (Step::Down(rows), Some(at)) => at.saturating_add(rows).min(last),
        };
        self.selected = Some((key(to), to));
    }

    /// Looks for the selected row in a list that has changed. If it is gone, the row that took
    /// its place is selected, or the last one.
    pub(crate) fn follow(&mut self, len: usize, key: impl Fn(usize) -> K) {
        let Some((name, place)) = self.selected.take() else { return };
        let Some(last) = len.checked_sub(1) else { return };
        self.selected = match (0..len).find(|&at| key(at) == name) {
            Some(at) => Some((name, at)),
            None => Some((key(place.min(last)), place.min(last))),
        };
    }

    /// Selects nothing.
    pub(crate) fn clear(&mut self) {
        self.selected = None;
    }

    /// The selected row's place in the list.
    pub(crate) fn place(&self) -> Option<usize> {
        self.selected.as_ref().map(|&(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor_on(list: &[u32], row: u32) -> Cursor<u32> {
        let mut cursor = Cursor::default();
        let place = list.iter().position(|&r| r == row).unwrap();
        cursor.step(Step::First, list.len(), |at| list[at]);
        cursor.step(Step::Down(place), list.len(), |at| list[at]);
        cursor
    }

    #[test]
    fn stays_with_its_row_while_the_list_moves() {
        let mut cursor = cursor_on(&[1, 2, 3], 3);
        let moved = [3, 9, 1, 2];
        cursor.follow(moved.len(), |at| moved[at]);
        assert_eq!(cursor.place(), Some(0));
    }

    #[test]
    fn goes_to_the_row_in_its_place_when_its_own_is_gone() {
        let mut cursor = cursor_on(&[1, 2, 3, 4], 2);
        let shorter = [1, 3, 4];
        cursor.follow(shorter.len(), |at| shorter[at]);
        assert_eq!(cursor.place(), Some(1));

        let mut cursor = cursor_on(&[1, 2, 3], 3);
        cursor.follow(1, |_| 1);
        assert_eq!(cursor.place(), Some(0), "the last one, if there are fewer rows");

        cursor.follow(0, |_| unreachable!("an empty list has no rows"));
        assert_eq!(cursor.place(), None);
    }

    #[test]
    fn steps_stay_within_the_list() {
        let mut cursor = Cursor::default();
        let key = |at: usize| at;
        cursor.step(Step::Down(5), 3, key);
        assert_eq!(cursor.place(), Some(0), "the first step selects the first row");
        cursor.step(Step::Down(5), 3, key);
        assert_eq!(cursor.place(), Some(2));
        cursor.step(Step::Up(1), 3, key);
        assert_eq!(cursor.place(), Some(1));
        cursor.step(Step::Up(usize::MAX), 3, key);
        assert_eq!(cursor.place(), Some(0));
        cursor.step(Step::Last, 3, key);
        assert_eq!(cursor.place(), Some(2));
        cursor.clear();
        cursor.step(Step::Last, 0, key);
        assert_eq!(cursor.place(), None, "an empty list has nothing to select");
    }
}
