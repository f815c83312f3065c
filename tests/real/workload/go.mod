module firedrill.dev/demo-shop

go 1.23
