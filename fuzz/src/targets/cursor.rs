//! Cursors: any text is either refused, or is the cursor that it is written as.

use weir_sidecar::log::Cursor;

pub(super) fn read(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(cursor) = text.parse::<Cursor>() else { return };
    let written = cursor.to_string();
    assert!(
        written.bytes().all(|byte| byte.is_ascii_graphic()),
        "{written:?} is not visible ASCII"
    );
    assert_eq!(written.parse(), Ok(cursor), "{text:?} is written as {written:?}");
}
