//! Short lists in order, and without repetitions. The standard library's sort, and a `BTreeMap` made from an iterator, which sorts as well,
//! are 4 KB of code for each type.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Inserts an item into a list that is in order, after its equals.
pub(crate) fn insert<T>(list: &mut Vec<T>, item: T, compare: impl Fn(&T, &T) -> Ordering) {
    let at = list.partition_point(|other| compare(other, &item).is_le());
    list.insert(at, item);
}

/// The items in order. A heap sorts in a tenth of the code of `slice::sort`, and long lists faster than [`insert`].
pub(crate) fn in_order<T: Ord>(items: Vec<T>) -> Vec<T> {
    BinaryHeap::from(items).into_sorted_vec()
}

/// Each of the texts once, in the order in which they first came. (`Vec::dedup` removes only repetitions that follow one another.)
pub(crate) fn unique(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut list = Vec::new();
    for text in texts {
        if !list.contains(&text) {
            list.push(text);
        }
    }
    list
}

/// Each of the texts once, in alphabetical order.
pub(crate) fn sorted_unique(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut list = in_order(texts.into_iter().collect());
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_stay_in_the_order_in_which_they_came() {
        let mut list = Vec::new();
        for item in [(2, 'a'), (1, 'b'), (2, 'c'), (0, 'd'), (1, 'e')] {
            super::insert(&mut list, item, |one, other| one.0.cmp(&other.0));
        }
        assert_eq!(list, [(0, 'd'), (1, 'b'), (1, 'e'), (2, 'a'), (2, 'c')]);
    }

    #[test]
    fn each_text_once() {
        assert_eq!(super::sorted_unique(["b", "a", "b"].map(str::to_owned)), ["a", "b"]);
        assert_eq!(super::unique(["b", "a", "b"].map(str::to_owned)), ["b", "a"]);
        assert_eq!(super::in_order(vec!["b", "c", "a", "b"]), ["a", "b", "b", "c"]);
    }
}
