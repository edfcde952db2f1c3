require("http").createServer((_, answer) => answer.end("hello from Node.js")).listen(process.env.PORT, "127.0.0.1");
