module example.org/hello/v2

go 1.19
