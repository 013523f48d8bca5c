// Node's WebSocket client: `websocket.mjs URL`. Sends each line of standard input and writes what
// comes back as a line. Ends with its input; with status 1 if the connection ended before.
import { createInterface } from "node:readline";

const socket = new WebSocket(process.argv[2]);
let asked = false;

socket.addEventListener("open", () => {
  console.log("open");
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => socket.send(line));
  lines.on("close", () => {
    asked = true;
    socket.close();
  });
});
socket.addEventListener("message", ({ data }) => console.log(data));
socket.addEventListener("close", ({ code }) => {
  if (!asked) console.error(`closed: ${code}`);
  process.exit(asked ? 0 : 1);
});
