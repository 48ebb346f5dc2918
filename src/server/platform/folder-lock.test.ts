import { mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockFolder } from "./folder-lock.ts";

let parent = "";
let folder = "";
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), "quota-lock-"));
  folder = path.join(parent, "db");
});
afterEach(() => rm(parent, { recursive: true, force: true }));

const owned = (owner: object) => writeFile(`${folder}.lock`, JSON.stringify(owner));
const LONG_AGO = new Date(Date.now() - 60_000);

test("a folder has one owner at a time, and is free again when it gives it back", async () => {
  const release = await lockFolder(folder);
  await expect(lockFolder(folder)).rejects.toThrow(`in use by process ${process.pid}`);
  release();
  await expect.poll(() => stat(`${folder}.lock`).catch(() => "gone")).toBe("gone");
  (await lockFolder(folder))();
});

test("a dead process's folder is taken over at once", async () => {
  await owned({ pid: 2_147_483_646, host: hostname(), nonce: "x" });
  (await lockFolder(folder))();
});

test("an owner on another machine keeps its folder for as long as it touches the file", async () => {
  await owned({ pid: process.pid, host: "another-container", nonce: "x" });
  await expect(lockFolder(folder)).rejects.toThrow("on another-container");
  await utimes(`${folder}.lock`, LONG_AGO, LONG_AGO);
  (await lockFolder(folder))();
});

test("a process id that belongs to somebody else by now does not keep the folder", async () => {
  await owned({ pid: process.ppid, host: hostname(), nonce: "x" });
  await utimes(`${folder}.lock`, LONG_AGO, LONG_AGO);
  (await lockFolder(folder))();
});

test("of several that find a dead owner, one gets the folder", async () => {
  await owned({ pid: 2_147_483_646, host: hostname(), nonce: "x" });
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
  const releases = outcomes.filter((outcome) => outcome.status === "fulfilled").map((outcome) => outcome.value);
  expect(releases).toHaveLength(1);
  releases[0]?.();
});
