//! Header maps of one thread that are empty and have memory: each call needs two, and to get the
//! memory for one anew costs more than to fill it.

use std::cell::RefCell;

use http::HeaderMap;

/// Headers that a map has room for at first: those of most messages, and what is added to them.
const ROOM: usize = 24;

/// Most maps that are kept.
const MAX_SPARE: usize = 32;

/// The largest map that is kept.
const MAX_ROOM: usize = 96;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with memory.
pub(crate) fn take() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| HeaderMap::with_capacity(ROOM))
}

/// Keeps a map's memory; what is in it is dropped.
pub(crate) fn put(mut map: HeaderMap) {
    if !(ROOM..=MAX_ROOM).contains(&map.capacity()) {
        return;
    }
    map.clear();
    // At a thread's end there may be no list any more.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn maps_come_back_empty() {
        let mut map = take();
        map.append("a", HeaderValue::from_static("1"));
        map.append("a", HeaderValue::from_static("2"));
        let room = map.capacity();
        put(map);
        let map = take();
        assert!(map.is_empty() && map.capacity() == room);
        put(HeaderMap::new());
        put(HeaderMap::with_capacity(10 * MAX_ROOM));
        assert!(take().capacity() <= MAX_ROOM);
    }
}
