'use strict'

const notices = [
  { id: 1, title: '北京天气', text: 'Sunny, 21 degrees.' },
  { id: 2, title: '上海地铁', text: 'Line 2 runs every three minutes today.' },
  { id: 3, title: 'Library hours', text: 'Open from 9 to 21, closed on Mondays.' },
]

/** All notices, or the one that `?id=` names. */
module.exports = async (event, context) => {
  if (event.query.id === undefined) return context.succeed(notices)
  const notice = notices.find(({ id }) => String(id) === event.query.id)
  if (notice) return context.succeed(notice)
  return context.status(404).succeed({ error: `no notice has the id ${event.query.id}` })
}
