// What Stripe's own client for Node sees of a payment's life: one JSON object a line, the same as story.py and story.go.
//
//     node story.js STRIPE_URL SECRET_KEY
//
// Change together with: story.py, story.go, and test_stripe_clients.py, which says what each line must hold.

'use strict'

const Stripe = require('stripe')

const AMOUNT = 1999
const BROWSER = { return_url: 'https://shop.example/back' }

const [address, secretKey] = process.argv.slice(2)
const { hostname: host, port } = new URL(address)
const stripe = new Stripe(secretKey, { host, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false })
const made = []

const say = (step, seen) => process.stdout.write(JSON.stringify({ step, ...seen }) + '\n')

async function tell () {
  await pays()
  await authenticates()
  await isDeclinedAndPaysWithAnotherCard()
  await cancels()
  await repeatsAndMisses()
  await lists()
}

async function pays () {
  const created = await create('order-paid')
  say('create', {
    status: created.status,
    amount: created.amount,
    currency: created.currency,
    order: created.metadata.orderId,
    group: created.transfer_group,
    secret: created.client_secret.startsWith(`${created.id}_secret_`),
    charge: created.latest_charge
  })
  const paid = await stripe.paymentIntents.confirm(created.id, {
    payment_method: 'pm_card_visa', expand: ['latest_charge']
  })
  const charge = paid.latest_charge
  say('pay', {
    status: paid.status,
    received: paid.amount_received,
    paid: charge.paid,
    intent: charge.payment_intent === paid.id,
    brand: charge.payment_method_details.card.brand,
    last4: charge.payment_method_details.card.last4
  })
  const refund = await stripe.refunds.create({ payment_intent: paid.id })
  const again = await stripe.charges.retrieve(charge.id)
  say('refund', {
    status: refund.status,
    amount: refund.amount,
    charge: refund.charge === charge.id,
    refunded: again.refunded,
    given_back: again.amount_refunded
  })
  const refunds = await stripe.refunds.list({ payment_intent: paid.id })
  say('refunds', { same: refunds.data.length === 1 && refunds.data[0].id === refund.id })
}

async function authenticates () {
  for (const verdict of ['complete', 'fail']) {
    const created = await create(`order-${verdict}`)
    const asked = await stripe.paymentIntents.confirm(created.id, {
      payment_method: 'pm_card_threeDSecure2Required', ...BROWSER
    })
    say(`ask ${verdict}`, { status: asked.status, next: asked.next_action.type, charge: asked.latest_charge })
    await answerBank(asked.next_action.redirect_to_url.url, verdict)
    const done = await stripe.paymentIntents.retrieve(created.id)
    say(`bank ${verdict}`, {
      status: done.status,
      next: done.next_action,
      code: done.last_payment_error ? done.last_payment_error.code : null,
      charged: done.latest_charge !== null && done.status === 'succeeded'
    })
  }
}

async function isDeclinedAndPaysWithAnotherCard () {
  const created = await create('order-declined')
  await refused(stripe.paymentIntents.confirm(created.id, { payment_method: 'pm_card_visa_chargeDeclined' }),
    Stripe.errors.StripeCardError,
    (error) => say('decline', {
      http: error.statusCode,
      type: error.rawType,
      code: error.code,
      decline_code: error.decline_code,
      intent: error.payment_intent.id === created.id,
      status: error.payment_intent.status
    }))
  const paid = await stripe.paymentIntents.confirm(created.id, { payment_method: 'pm_card_mastercard' })
  const charges = await stripe.charges.list({ payment_intent: created.id })
  say('another card', { status: paid.status, charges: charges.data.map((each) => each.status) })
}

async function cancels () {
  const created = await create('order-cancelled')
  const cancelled = await stripe.paymentIntents.cancel(created.id, { cancellation_reason: 'abandoned' })
  say('cancel', { status: cancelled.status, reason: cancelled.cancellation_reason })
  await refused(stripe.paymentIntents.confirm(created.id, { payment_method: 'pm_card_visa' }),
    Stripe.errors.StripeInvalidRequestError,
    (error) => say('confirm a cancelled one', { http: error.statusCode, code: error.code }))
}

async function repeatsAndMisses () {
  const first = await create('order-twice', 'create-twice')
  const second = await create('order-twice', 'create-twice')
  made.pop()
  say('same key', { same: first.id === second.id })
  await refused(stripe.paymentIntents.retrieve('pi_missing'),
    Stripe.errors.StripeInvalidRequestError,
    (error) => say('missing', { http: error.statusCode, code: error.code }))
}

async function lists () {
  const listed = []
  for await (const each of stripe.paymentIntents.list({ limit: 2 })) listed.push(each.id)
  say('list', { newest_first: listed.join() === [...made].reverse().join(), count: listed.length })
}

async function create (order, key) {
  const created = await stripe.paymentIntents.create({
    amount: AMOUNT,
    currency: 'usd',
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { orderId: order },
    transfer_group: order
  }, { idempotencyKey: key || `create-${order}` })
  made.push(created.id)
  return created
}

// Calls `seen` with the error of the given class that a request is refused with; any other error ends the program.
async function refused (request, kind, seen) {
  try {
    await request
  } catch (error) {
    if (!(error instanceof kind)) throw error
    seen(error)
  }
}

// Presses a button of the bank's page: `complete` or `fail`.
async function answerBank (url, verdict) {
  const headers = { Accept: 'application/json' } // a browser would be sent on to the return URL
  const answer = await fetch(`${url}/${verdict}`, { method: 'POST', headers })
  if (answer.status >= 400) throw new Error(`the bank's page answered ${answer.status}`)
}

tell().catch((error) => { console.error(error); process.exitCode = 1 })
