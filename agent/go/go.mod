module example.org/tidemark/agent

go 1.19
