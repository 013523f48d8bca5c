// Node's EventSource: `events.mjs URL`. Writes each event's data as a line, until its input ends.
// Ends with status 1 when the stream does, which it would otherwise open again.
const source = new EventSource(process.argv[2]);

source.addEventListener("open", () => console.log("open"));
source.addEventListener("message", ({ data }) => console.log(data));
source.addEventListener("error", () => {
  console.error("the stream has ended");
  process.exit(1);
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
