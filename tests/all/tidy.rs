//! The rules of the code: who may import whom, sizes, and the list of pitfalls.
