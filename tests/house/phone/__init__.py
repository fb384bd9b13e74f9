"""A phone with the action of Home Assistant's app; it tells what it shows by an event. See tests/house."""

from homeassistant.core import HomeAssistant, ServiceCall, callback
from homeassistant.helpers.typing import ConfigType


async def async_setup(hass: HomeAssistant, _: ConfigType) -> bool:
    """Offer `notify.mobile_app_phone`."""

    @callback
    def show(call: ServiceCall) -> None:
        hass.bus.async_fire("phone_shows", call.data)

    hass.services.async_register("notify", "mobile_app_phone", show)
    return True
