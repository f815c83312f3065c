//! `managedFields`: who set which field last. A field moves to the last manager that *changed* its value; a
//! write that changes nothing takes over nothing.
