// Chromium, without a window: `browser.mjs URL KEY TEXT`. Opens the guest book, signs it with the
// text as a visitor does, and prints as JSON what the page showed before and afterwards. KEY is the
// digest of the one public key that it takes without an authority (see Chromium's
// --ignore-certificate-errors-spki-list).
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, key, text] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "browser-"));
const browser = spawn(
  "chromium-headless-shell",
  [
    "--remote-debugging-pipe",
    "--no-sandbox", // which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    `--user-data-dir=${profile}`,
    `--ignore-certificate-errors-spki-list=${key}`,
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);

// The DevTools protocol: JSON, each message ended by a zero byte.
const waiting = new Map();
let last = 0;
let unread = "";
browser.stdio[4].setEncoding("utf8").on("data", (part) => {
  const messages = (unread + part).split("\0");
  unread = messages.pop();
  for (const { id, result, error } of messages.map((message) => JSON.parse(message))) {
    if (!id) continue;
    const { resolve, reject } = waiting.get(id);
    error ? reject(new Error(error.message)) : resolve(result);
  }
});

function call(method, params = {}, sessionId = undefined) {
  const id = ++last;
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });

async function evaluate(expression) {
  const asked = { expression, returnByValue: true };
  const { result, exceptionDetails } = await call("Runtime.evaluate", asked, sessionId);
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
  return result.value;
}

async function until(expression) {
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    // Between two pages there is none to ask.
    if (await evaluate(expression).catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within 20 s: ${expression}: ${await evaluate("document.body.innerText")}`);
}

const loaded = (more) => `document.readyState === "complete" && location.protocol === "https:" && ${more}`;
const shown = `({
  title: document.title,
  entries: [...document.querySelectorAll("article .message")].map((entry) => entry.innerText),
  styled: document.styleSheets.length > 0 && document.styleSheets[0].cssRules.length > 0,
  protocol: performance.getEntriesByType("navigation")[0].nextHopProtocol,
})`;

try {
  const { errorText } = await call("Page.navigate", { url }, sessionId);
  if (errorText) throw new Error(`${url}: ${errorText}`);
  await until(loaded(`document.querySelector("form") !== null`));
  const before = await evaluate(shown);
  await evaluate(`{
    document.getElementById("name").value = "a browser";
    document.getElementById("message").value = ${JSON.stringify(text)};
    document.querySelector("form button").click();
  }`);
  await until(loaded(`document.body.innerText.includes(${JSON.stringify(text)}) &&
    document.getElementById("message").value === ""`));
  console.log(JSON.stringify({ before, after: await evaluate(shown) }));
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  const ended = new Promise((resolve) => browser.on("exit", resolve));
  call("Browser.close").catch(() => browser.kill());
  await ended;
  rmSync(profile, { recursive: true, force: true });
}
