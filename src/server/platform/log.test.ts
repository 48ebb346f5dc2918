import { afterEach, expect, test, vi } from "vitest";
import { AppError } from "./errors.ts";
import { log } from "./log.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

test("an error is logged with our own detail and its cause, and without the row that the database repeats", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const cause = Object.assign(new Error("duplicate key"), { name: "error", detail: "Key (email)=(mara@example.com) already exists." });
  log.error("failed", { error: new AppError("upstream_error", { detail: { status: 500 }, cause }) });
  const line = String(write.mock.calls[0]?.[0]);
  expect(JSON.parse(line)).toMatchObject({ level: "error", error: { detail: { status: 500 }, cause: { message: "duplicate key" } } });
  expect(line).not.toContain("mara");
});
