-- Tells what server this is and what time it has; one call, so that both are of one moment.
-- Keys and arguments: none.
-- Answers INFO's text, seconds and microseconds; nothing where the user may not ask.
local info, time = call('INFO'), call('TIME')
reply = false
if type(info) == 'string' and not time.err then
  reply = { info, time[1], time[2] }
end
