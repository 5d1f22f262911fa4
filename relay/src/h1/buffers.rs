//! Read buffers of one thread, so that idle connections need none.

use std::cell::RefCell;

use bytes::BytesMut;

/// What a buffer holds at first: a request or an answer with a small body.
pub(crate) const SIZE: usize = 8 << 10;

/// Most buffers that are kept for the next one who needs one.
const MAX_FREE: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for at least [`SIZE`] bytes.
pub(crate) fn take() -> BytesMut {
    // What was read into a buffer may still be in use; then it cannot be used again.
    let mut used = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if used.capacity() > 0 && used.try_reclaim(SIZE) {
        return used;
    }
    BytesMut::with_capacity(SIZE)
}

/// Gives a buffer back; what is in it is forgotten.
pub(crate) fn put(mut buffer: BytesMut) {
    if buffer.capacity() == 0 {
        return;
    }
    buffer.clear();
    // At a thread's end there may be no list any more.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < MAX_FREE {
            free.push(buffer);
        }
    });
}
