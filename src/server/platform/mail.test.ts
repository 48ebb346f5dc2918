import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { env } from "#env";
import { deliver, mailGoes, sendLater } from "./mail.ts";

const sockets = new Set<Socket>();
let server: Server | undefined;
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
});

/** A minimal mail server; `mute` accepts connections and sends nothing, `refuse` repeats the recipient in its refusal. */
async function mailServer(options: { mute?: boolean; refuse?: boolean } = {}): Promise<{ url: string; received: () => string }> {
  let received = "";
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    if (options.mute) return;
    let inData = false;
    socket.write("220 test\r\n");
    socket.on("data", (bytes) => {
      for (const line of bytes.toString().split("\r\n").slice(0, -1)) {
        received += `${line}\n`;
        if (inData) {
          if (line !== ".") continue;
          inData = false;
          socket.write("250 taken\r\n");
        } else if (options.refuse && line.startsWith("RCPT")) {
          socket.write(`550 5.1.1 ${line}\r\n`);
        } else if (line === "DATA") {
          inData = true;
          socket.write("354 go on\r\n");
        } else socket.write(line === "QUIT" ? "221 bye\r\n" : "250 ok\r\n");
      }
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  return { url: `smtp://127.0.0.1:${(server.address() as { port: number }).port}`, received: () => received };
}

const mail = { to: "mara@example.com", subject: "Set a new password", text: "Open this link" };

describe("mail", () => {
  test("is handed to the mail server", async () => {
    const { url, received } = await mailServer();
    await deliver(mail, url);
    expect(received()).toContain("RCPT TO:<mara@example.com>");
    expect(received()).toContain("Subject: Set a new password");
    expect(received()).toContain("Open this link");
  });

  test("does not wait for a mail server that says nothing", async () => {
    const { url } = await mailServer({ mute: true });
    const begun = performance.now();
    await expect(deliver(mail, url, 200)).rejects.toThrow();
    expect(performance.now() - begun).toBeLessThan(5_000);
  });

  test("that could not be sent leaves none of its text in the log, because a subject may be a code", async () => {
    let logged = "";
    const write = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      logged += text;
      return true;
    });
    const before = { ...env };
    const code = { to: "mara@example.com", subject: "1234 5678 is your code", text: "Your code is 1234 5678" };
    try {
      Object.assign(env, { NODE_ENV: "production", DATABASE_URL: "postgresql://x", SMTP_URL: undefined });
      sendLater(code);
      env.SMTP_URL = (await mailServer({ refuse: true })).url;
      sendLater(code);
      await expect.poll(() => logged.trim().split("\n")).toHaveLength(2);
      env.SMTP_URL = "smtp://127.0.0.1:1";
      sendLater(code);
      await expect.poll(() => logged.trim().split("\n")).toHaveLength(3);
    } finally {
      Object.assign(env, before);
      write.mockRestore();
    }
    expect(logged.match(/a mail could not be sent/g)).toHaveLength(3);
    // The log has what an operator needs.
    expect(logged).toContain("SMTP_URL is not set");
    expect(logged).toContain('"answered":550');
    expect(logged).toContain("ECONNREFUSED");
    expect(logged).not.toMatch(/1234|mara|code is/);
  });

  test("is printed without SMTP_URL, except on a Postgres in production", () => {
    const goes = (SMTP_URL: string | undefined, NODE_ENV: "development" | "production", DATABASE_URL: string | undefined) =>
      mailGoes({ SMTP_URL, NODE_ENV, DATABASE_URL });
    expect(goes(undefined, "development", "postgresql://x")).toBe("to the output");
    expect(goes(undefined, "production", undefined)).toBe("to the output");
    expect(goes(undefined, "production", "postgresql://x")).toBe("nowhere");
    expect(goes("smtp://x", "production", "postgresql://x")).toBe("out");
  });
});
