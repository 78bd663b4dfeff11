// The steps of a front end: let Stripe turn the card into a token, POST it, let the customer authenticate where the
// answer requires it, and GET the payment. docs/front-end.md explains each step and lists the same answers by `code`.

'use strict'

const PAYMENTS = '/api/v1/payments'
const PUBLISHABLE_KEY = 'pk_test_embedded'
const ASK_AGAIN_MS = 1000 // between two GETs without a Retry-After
const PATIENCE_MS = 30000 // after it the page stops polling an open payment, and the customer may press "Look again"

// One sentence for each `code` of an error; a front end needs no other text of the service.
const ERRORS = {
  declined: 'The card was declined. Try another one.',
  authentication_required: 'The bank did not confirm that it is you. Try again, or another card.',
  invalid_card: 'This card can not be used any more. Enter it again.',
  order_cancelled: 'The order was cancelled.',
  order_expired: 'The time to pay this order is over.',
  already_paid: 'The order is paid already, with another card.',
  under_way: 'Another attempt to pay this order is not finished. Wait a moment.',
  not_found: 'There is no such order.',
  not_owner: 'This order belongs to another customer.',
  unauthenticated: 'You are signed out. Sign in again.',
  too_many_attempts: 'There were too many attempts. Place the order again, later.',
  too_many_declines: 'Too many of your payments were declined. Try again later.',
  amount_not_chargeable: 'A card can not be charged this amount.',
  unavailable: 'Payments are not possible right now. Nothing was charged. Try again in a moment.',
  outcome_unknown: 'We do not know yet whether you were charged. You are never charged twice: the page asks again.',
  timeout: 'The request took too long. Try again.'
}
const OTHER_ERROR = 'Something is wrong with this page: its request was not understood.'

const STATES = {
  pending: 'The payment is being made.',
  requires_action: 'Your bank asks you to confirm this payment.',
  paid: 'The order is paid.',
  declined: 'The order is not paid: the card was declined.',
  expired: 'The order was not paid in time.',
  cancelled: 'The order was cancelled. Nothing was charged.',
  refunding: 'Your money is on its way back.',
  refunded: 'Your money was given back.'
}
const OPEN = ['pending', 'requires_action']

const stripe = window.Stripe(PUBLISHABLE_KEY)
const at = (id) => document.getElementById(id)
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

let order = null
let pendingAction = null // the last answer with requires_action and its client secret, until the customer goes on

function step (text) {
  const item = document.createElement('li')
  item.textContent = text
  at('steps').append(item)
}

function show (status, text) {
  at('payment').dataset.status = status
  at('payment').textContent = text
}

function chooseOrder (id) {
  order = id
  pendingAction = null
  at('order').textContent = id
  for (const name of ['pay', 'cancel', 'look']) at(name).disabled = false
  at('continue').hidden = true
  history.replaceState(null, '', `/?order=${id}`)
}

async function ask (method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { 'Content-Type': 'application/json' } : {},
    body: body ? JSON.stringify(body) : undefined
  })
  return {
    status: answer.status,
    body: await answer.json(),
    againMs: Number(answer.headers.get('Retry-After')) * 1000 || ASK_AGAIN_MS
  }
}

// Turns the card into an instrument of the service: {token}, {paymentMethod} or {confirmationToken}, with its id.
async function instrument () {
  const option = at('card').selectedOptions[0]
  const card = { number: option.value, exp_month: '12', exp_year: '2034', cvc: '123' }
  const kind = at('instrument').value
  if (kind === 'named') return { token: option.dataset.token }
  const made = await {
    token: () => stripe.createToken(card),
    paymentMethod: () => stripe.createPaymentMethod({ type: 'card', card }),
    confirmationToken: () => stripe.createConfirmationToken({ card })
  }[kind]()
  if (made.error) throw new Error(`Stripe refused the card: ${made.error.message}`)
  step(`Stripe made the card a ${kind}.`)
  return { [kind]: made[kind].id }
}

function authentication () {
  return {
    sdk: { useStripeSdk: true },
    redirect: { returnUrl: `${location.origin}/?order=${order}` },
    none: {}
  }[at('how').value]
}

async function pay () {
  const answer = await ask('POST', PAYMENTS, { orderId: order, ...await instrument(), ...authentication() })
  step(`The service answered ${answer.status}${words(answer)}`)
  if (answer.body.status === 'requires_action') {
    await authenticate(answer)
  } else {
    await settle()
  }
}

function words ({ body }) {
  if (!body.errors) return `, ${body.status}.`
  const { code } = body.errors[0]
  return `, ${code}: ${ERRORS[code] || OTHER_ERROR}`
}

// Lets the customer answer the bank, then GETs the payment: the outcome is the service's answer, not Stripe.js's.
async function authenticate ({ body }) {
  pendingAction = null
  at('continue').hidden = true
  show('requires_action', STATES.requires_action)
  if (body.nextAction.type === 'redirect_to_url') {
    location.assign(body.nextAction.url)
    return
  }
  const { error } = await stripe.handleNextAction({ clientSecret: body.clientSecret }).catch((error) => ({ error }))
  step(error ? `The bank's page ended: ${error.code || error.message}` : "The bank's page was completed.")
  await settle()
}

// GETs the payment once, and shows it.
async function look () {
  const answer = await ask('GET', `${PAYMENTS}?orderId=${encodeURIComponent(order)}`)
  if (answer.status === 404) {
    show('none', 'No payment yet.')
  } else if (answer.body.errors) {
    step(`The service answered ${answer.status}${words(answer)}`)
  } else {
    show(answer.body.status, STATES[answer.body.status])
    pendingAction = answer.body.clientSecret ? answer : null
    at('continue').hidden = pendingAction === null
  }
  return answer
}

// GETs the payment until it is no longer open or requires its customer; then the page shows "Continue with the bank".
async function settle () {
  const end = Date.now() + PATIENCE_MS
  let answer = await look()
  while (isOpen(answer) && Date.now() < end) {
    await wait(answer.againMs)
    answer = await look()
  }
}

const isOpen = ({ status, body }) => status === 503 || (OPEN.includes(body.status) && pendingAction === null)

async function place () {
  const answer = await ask('POST', '/shop/orders')
  if (answer.status !== 201) throw new Error(answer.body.errors[0].message)
  chooseOrder(answer.body.orderId)
  at('steps').replaceChildren()
  step(`An order of ${answer.body.price} was placed.`)
  show('none', 'No payment yet.')
}

async function cancel () {
  await ask('POST', `/shop/orders/${order}/cancel`)
  step('The order was cancelled.')
  await settle()
}

// The page was opened again: by the bank's page, which sends the customer back, or by a customer who had left.
async function comeBack (query) {
  chooseOrder(query.get('order'))
  if (!query.has('redirect_status')) return look()
  step('You are back from the bank.')
  return settle()
}

// Runs one action at a time, and shows its error.
function on (id, event, action) {
  at(id).addEventListener(event, async (happened) => {
    happened.preventDefault()
    document.body.setAttribute('aria-busy', 'true')
    at('pay').disabled = true
    try {
      await action()
    } catch (error) {
      step(error.message)
    } finally {
      document.body.removeAttribute('aria-busy')
      at('pay').disabled = order === null
    }
  })
}

on('place', 'click', place)
on('cancel', 'click', cancel)
on('look', 'click', look)
on('continue', 'click', () => authenticate(pendingAction))
on('form', 'submit', pay)

const query = new URLSearchParams(location.search)
if (query.has('order')) comeBack(query).catch((error) => step(error.message))
