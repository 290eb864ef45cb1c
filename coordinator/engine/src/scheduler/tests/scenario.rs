//! Small stories as text.
