import nodemailer from "nodemailer";
import { env, publicUrl } from "#env";
import { log } from "./log.ts";

export type Mail = { to: string; subject: string; text: string };

/**
 * Where mail goes: out through SMTP_URL; without it to the server's output, on a machine where
 * Quota is tried out; nowhere on a Postgres in production, because mails carry secrets and
 * logs are kept and read by other people.
 */
export function mailGoes(settings: Pick<typeof env, "SMTP_URL" | "NODE_ENV" | "DATABASE_URL"> = env): "out" | "to the output" | "nowhere" {
  if (settings.SMTP_URL !== undefined) return "out";
  return settings.NODE_ENV === "production" && settings.DATABASE_URL !== undefined ? "nowhere" : "to the output";
}

/**
 * Sends a mail without making the caller wait for the mail server. So the time of an answer
 * does not tell whether a mail was sent.
 */
export function sendLater(mail: Mail): void {
  const way = mailGoes();
  if (way === "to the output") print(mail);
  else if (env.SMTP_URL === undefined) log.error("a mail could not be sent: SMTP_URL is not set");
  else void deliver(mail, env.SMTP_URL).catch((error) => log.error("a mail could not be sent", failureOf(error)));
}

/** What the log may contain: no part of the mail, whose subject may be a code, and none of the mail server's text, which may repeat it. */
function failureOf(error: unknown): Record<string, unknown> {
  const { code, command, responseCode } = error as { code?: string; command?: string; responseCode?: number };
  return responseCode === undefined ? { error } : { code, command, answered: responseCode };
}

const MAIL_TIMEOUT_MS = 10_000;

/** Hands a mail to the mail server; throws when the mail server refuses it or does not answer within `withinMs`. */
export async function deliver(mail: Mail, smtpUrl: string, withinMs = MAIL_TIMEOUT_MS): Promise<void> {
  // nodemailer takes all settings from the URL; those that the operator wrote there win.
  const url = new URL(smtpUrl);
  for (const name of ["connectionTimeout", "greetingTimeout", "socketTimeout", "dnsTimeout"])
    if (!url.searchParams.has(name)) url.searchParams.set(name, String(withinMs));
  const transport = nodemailer.createTransport(url.href);
  try {
    await transport.sendMail({
      from: env.QUOTA_MAIL_FROM ?? `Quota <no-reply@${new URL(publicUrl()).hostname}>`,
      ...mail,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  } finally {
    transport.close();
  }
}

function print(mail: Mail): void {
  console.log(`\n  Mail to ${mail.to}: ${mail.subject}\n\n${mail.text.replace(/^/gm, "    ")}\n`);
}
