import { expect, test } from "vitest";
import { databaseUrl } from "./database-url.ts";
import { parseEnv } from "./env.ts";

test.each([
  ["https://quota.example.com", "https://quota.example.com"],
  ["https://Quota.Example.com:443/", "https://quota.example.com"],
  ["http://[::1]:3000", "http://[::1]:3000"],
  [" http://localhost:3000 ", "http://localhost:3000"],
])("QUOTA_URL may be %s", (given, origin) => {
  expect(parseEnv({ QUOTA_URL: given }).QUOTA_URL).toBe(origin);
});

test.each([
  "quota.example.com",
  "localhost:3000",
  "//quota.example.com",
  "https:quota.example.com",
  "ftp://quota.example.com",
  "https://quota.example.com/quota",
  "https://quota.example.com/?",
  "https://quota.example.com?a=b",
  "https://quota.example.com#",
  "https://user:secret@quota.example.com",
  "https://",
])("QUOTA_URL=%s stops the start with one sentence", (given) => {
  expect(() => parseEnv({ QUOTA_URL: given })).toThrow(
    /cannot use:\n {2}QUOTA_URL: is not an address of scheme and host alone, such as https:\/\/quota\.example\.com$/,
  );
});

test("other addresses are checked as strictly, and the error does not repeat their password", () => {
  expect(parseEnv({ OLLAMA_BASE_URL: "http://localhost:11434/v1" }).OLLAMA_BASE_URL).toBe("http://localhost:11434/v1");
  for (const address of ["localhost:11434/v1", "http://localhost/v1?key=hush", "http://me:hush@localhost/v1", "http://localhost/v1#hush"])
    expect(() => parseEnv({ OLLAMA_BASE_URL: address })).toThrow(/OLLAMA_BASE_URL: is not an http(?!.*hush)/);
  for (const address of ["http://127.0.0.1:1/v1", "http://me:hush@127.0.0.1:1", "127.0.0.1:1"])
    expect(() => parseEnv({ STRIPE_API_URL: address })).toThrow(/STRIPE_API_URL: is not an address of scheme and host(?!.*hush)/);
});

test.each([
  ["postgresql://u:p@db:5432/quota", "postgresql://u:p@db:5432/quota"],
  ["postgres://u:p%40@db/quota?sslmode=require", "postgres://u:p%40@db/quota?sslmode=verify-full"],
  ["postgresql://u:p@db/quota?sslmode=no-verify&channel_binding=require", "postgresql://u:p@db/quota?sslmode=no-verify"],
  ["postgresql://u:p@db/quota?uselibpqcompat=true&sslmode=require", "postgresql://u:p@db/quota?uselibpqcompat=true&sslmode=require"],
  ["postgresql://u:p@db/quota?schema=public&pgbouncer=true&connection_limit=1&pool_timeout=0", "postgresql://u:p@db/quota"],
  ["postgresql://u:p@/quota?host=/run/postgresql", "postgresql://u:p@/quota?host=%2Frun%2Fpostgresql"],
])("DATABASE_URL may be %s", (given, used) => {
  expect(databaseUrl(given)).toBe(used);
  expect(databaseUrl(used)).toBe(used);
});

test.each([
  ["postgresql://u:hush@db/quota?schema=other", "has schema=, and Quota keeps its tables in the schema public"],
  ["postgresql://u:hush@db/quota?options=-c%20search_path%3Dother", "has a search_path in options="],
  ["postgresql://u:hush@db/quota?sslmode=prefer", "has sslmode=prefer, which does not say whether to encrypt"],
  ["postgresql://u:hush@db/quota?sslmod=require", "has the parameter sslmod, which Quota does not know"],
  ["postgresql://u:hush@db/quota?sslmode=disable&sslmode=require", "has the parameter sslmode twice"],
  ["postgresql://u:hu?sh@db/quota", "is not an address such as postgresql://"],
  ["postgresql://u:hu#sh@db/quota", "is not an address such as postgresql://"],
  ["postgresql://u:hush%zz@db/quota", "is not an address such as postgresql://"],
  ["postgresql://u:hush@db1:5432,db2:5432/quota", "is not an address such as postgresql://"],
  ["postgresql://u:hush@db1,db2/quota", "is not an address such as postgresql://"],
  ["mysql://u:hush@db/quota", "is not an address such as postgresql://"],
  ["db:5432", "is not an address such as postgresql://"],
])("DATABASE_URL=%s stops the start with one sentence that has no password in it", (given, sentence) => {
  const start = () => parseEnv({ DATABASE_URL: given });
  expect(start).toThrow(sentence);
  expect(start).toThrow(/^(?!.*hush).*\n {2}DATABASE_URL: (?!.*hush).*$/);
});
