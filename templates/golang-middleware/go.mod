module handler

go 1.19

replace handler/function => ./function

require handler/function v0.0.0
