#!/usr/bin/env node
// An MCP server for tests: one tool that runs a command, and ways to misbehave, each by a word of its own.
// Spoken by hand, line by line, so that it can break the protocol where a library would not.
const { spawn } = require("node:child_process");
const readline = require("node:readline");

const manner = process.argv[2] || "well";
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
const said = (id, text, isError) => send({ id, result: { content: [{ type: "text", text }], isError: !!isError } });
const running = new Map();

if (manner === "stubborn") {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {});
}
if (manner === "noisy") {
  // A gigabyte on stderr, as fast as it is taken.
  const piece = Buffer.alloc(1 << 20, "noise ");
  let left = 1024;
  const more = () => {
    while (left-- > 0) if (!process.stderr.write(piece)) return process.stderr.once("drain", more);
  };
  more();
}

const tools = [
  { name: "run", description: "Runs a command", inputSchema: { type: "object", properties: { command: { type: "string" } } } },
  { name: "die", description: "Ends the server", inputSchema: { type: "object" } },
  { name: "half", description: "Writes half a line, and ends", inputSchema: { type: "object" } },
  { name: "flood", description: "Writes a gigabyte without an end of line", inputSchema: { type: "object" } },
  { name: "fork", description: "Leaves a process behind", inputSchema: { type: "object" } },
  { name: "never", description: "Never answers", inputSchema: { type: "object" } },
  { name: "look", description: "Changes nothing", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
];

const called = {
  run(id, { command }) {
    const child = spawn("sh", ["-c", command], { stdio: ["ignore", "pipe", "pipe"] });
    running.set(id, child);
    let text = "";
    child.stdout.on("data", (data) => (text += data));
    child.stderr.on("data", (data) => (text += data));
    child.on("close", (code) => running.delete(id) && said(id, text, code !== 0));
  },
  die: () => process.exit(7),
  half: (id) => process.stdout.write(`{"jsonrpc":"2.0","id":${id},"resu`, () => process.exit(0)),
  flood(id) {
    const piece = Buffer.alloc(1 << 20, "x");
    let left = 1024;
    const more = () => {
      while (left-- > 0) if (!process.stdout.write(piece)) return process.stdout.once("drain", more);
      process.stdout.write("\n");
      said(id, "flooded");
    };
    more();
  },
  fork(id) {
    spawn("sleep", ["86400"], { stdio: "inherit", detached: true }).unref();
    said(id, "left one behind");
  },
  never() {},
  look: (id) => said(id, "looked"),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    const result = { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "shell", version: "1" } };
    send({ id, result });
  } else if (method === "tools/list") {
    send({ id, result: { tools } });
  } else if (method === "tools/call") {
    called[params.name](id, params.arguments || {});
  } else if (method === "notifications/cancelled") {
    process.stderr.write(`cancelled ${params.requestId}\n`);
    running.get(params.requestId)?.kill();
    running.delete(params.requestId);
  } else if (id !== undefined) {
    send({ id, error: { code: -32601, message: `no ${method}` } });
  }
}).on("close", () => manner === "stubborn" || process.exit(0));
