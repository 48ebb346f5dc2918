import nodemailer from "nodemailer";
import { env, publicUrl } from "#env";
import { log } from "./log.ts";

export type Mail = { to: string; subject: string; text: string };

/**
 * Where mail goes: out through SMTP_URL; or, on a machine that somebody tries Quota
 * on, to the server's output. On a Postgres in production nowhere, because mails carry
 * secrets and such an output is kept and read by others.
 */
export function mailGoes(settings: Pick<typeof env, "SMTP_URL" | "NODE_ENV" | "DATABASE_URL"> = env): "out" | "to the output" | "nowhere" {
  if (settings.SMTP_URL !== undefined) return "out";
  return settings.NODE_ENV === "production" && settings.DATABASE_URL !== undefined ? "nowhere" : "to the output";
}

/**
 * Sends a mail after the answer: nobody waits for a mail server, and nobody can tell
 * from how long an answer took whether there was a mail.
 */
export function sendLater(mail: Mail): void {
  const way = mailGoes();
  if (way === "to the output") print(mail);
  else if (env.SMTP_URL === undefined) log.error("a mail could not be sent: SMTP_URL is not set");
  else void deliver(mail, env.SMTP_URL).catch((error) => log.error("a mail could not be sent", failureOf(error)));
}

/** What the log may have: no part of the mail, whose subject may be a code, and nothing that the mail server said, which may repeat it. */
function failureOf(error: unknown): Record<string, unknown> {
  const { code, command, responseCode } = error as { code?: string; command?: string; responseCode?: number };
  return responseCode === undefined ? { error } : { code, command, answered: responseCode };
}

const A_MAIL_SERVER_ANSWERS_WITHIN_MS = 10_000;

/** Hands a mail to the mail server; throws when it does not take it in time. */
export async function deliver(mail: Mail, smtpUrl: string, withinMs = A_MAIL_SERVER_ANSWERS_WITHIN_MS): Promise<void> {
  // With an address nodemailer takes all settings from it; those that an operator wrote there win.
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
