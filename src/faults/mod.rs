//! One file a fault, and the registry that everything else derives from.
