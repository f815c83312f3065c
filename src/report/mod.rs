//! Journal into facts, facts into text, Markdown and JSON.
